"""Asks a model for its predictions of many rows in one request, by gRPC, with the client of NVIDIA Triton.

Arguments: HOST:PORT, the model, and a file of JSON with a list for each feature. Prints the predictions as JSON.
"""

import json
import pathlib
import sys

import numpy as np
from tritonclient import grpc

address, model, path = sys.argv[1:]
inputs = []
for name, values in json.loads(pathlib.Path(path).read_text()).items():
    if isinstance(values[0], str):
        datatype, data = "BYTES", np.array([[value.encode()] for value in values], dtype=object)
    else:
        datatype, data = "FP64", np.array(values, dtype=np.float64).reshape(-1, 1)
    tensor = grpc.InferInput(name, data.shape, datatype)
    tensor.set_data_from_numpy(data)
    inputs.append(tensor)
answer = grpc.InferenceServerClient(address).infer(model, inputs)
output = answer.get_response().outputs[0].name
print(json.dumps(answer.as_numpy(output).reshape(-1).tolist()))
