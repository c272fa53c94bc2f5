"""Triton's own clients, unchanged, against a consumer-app that serves property-value (version 4) and tumour (1).

Called as `client.py HOST:PORT`; ends with 0 when everything is as it should be. The Rust test that starts it is
`consumer-app/tests/suite/triton.rs`.
"""

import json
import queue
import sys
import urllib.request

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
MODEL = "property-value"
NUMERIC = ["area", "lot", "built", "baths"]


def rows(count):
    """The features of that many rows, each row another."""
    row = np.arange(count, dtype=np.float64).reshape(count, 1)
    zones = ["North_Ames", "Old_Town", "Stone_Brook"]
    heating = ["Poor", "Fair", "Good"]
    return {
        "area": 334.0 + row * 0.1,
        "lot": 1300.3 + row / 3,
        "built": 1900.0 + row % 100,
        "baths": row % 4,
        "zone": np.array([[zones[i % 3]] for i in range(count)], dtype=object),
        "heating": np.array([[heating[i % 3]] for i in range(count)], dtype=object),
    }


def inputs(client, features, **form):
    made = []
    for name, values in features.items():
        datatype = "BYTES" if values.dtype == object else "FP64"
        tensor = client.InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **form)
        made.append(tensor)
    return made


def plain_json(features):
    """What a client without this library would get."""
    tensors = [
        {
            "name": name,
            "shape": list(values.shape),
            "datatype": "BYTES" if values.dtype == object else "FP64",
            "data": values.flatten().tolist(),
        }
        for name, values in features.items()
    ]
    body = json.dumps({"inputs": tensors}).encode()
    with urllib.request.urlopen(f"http://{ADDRESS}/v2/models/{MODEL}/infer", body) as answer:
        return np.array(json.load(answer)["outputs"][0]["data"]).reshape(-1, 1)


def same(found, expected):
    assert found.tobytes() == expected.tobytes(), (found, expected)


def refused(words, call):
    try:
        call()
    except InferenceServerException as error:
        assert words in str(error), f"{words!r} is not in {error}"
        return error
    raise AssertionError(f"not refused: {words}")


def common(module, client):
    """What both clients do by the same calls."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "4")
    expected = {count: plain_json(rows(count)) for count in (1, 500)}
    for count, answer in expected.items():
        for version in ("", "4"):
            result = client.infer(MODEL, inputs(module, rows(count)), model_version=version, request_id="a7")
            same(result.as_numpy("price"), answer)
    asked = [module.InferRequestedOutput("malignant_label"), module.InferRequestedOutput("malignant")]
    matrix = module.InferInput("features", [2, 2], "FP64")
    matrix.set_data_from_numpy(np.array([[10.0, 15.0], [25.0, 30.0]]))
    result = client.infer("tumour", [matrix], outputs=asked)
    assert result.as_numpy("malignant_label").flatten().tolist() == [b"benign", b"malignant"]
    assert result.as_numpy("malignant").shape == (2, 1)
    only = client.infer("tumour", [matrix], outputs=asked[:1])
    assert only.as_numpy("malignant") is None

    # A client's `timeout` is one for a queue, and there is none here: it changes nothing.
    same(client.infer(MODEL, inputs(module, rows(1)), timeout=1).as_numpy("price"), expected[1])
    for compression in ("gzip", "deflate"):
        name = "compression_algorithm" if module is grpc else "request_compression_algorithm"
        result = client.infer(MODEL, inputs(module, rows(500)), **{name: compression})
        same(result.as_numpy("price"), expected[500])

    refused('there is no model "nope" here', lambda: client.infer("nope", inputs(module, rows(1))))
    refused('does not serve version "3"', lambda: client.infer(MODEL, inputs(module, rows(1)), model_version="3"))
    missing = rows(1)
    del missing["lot"]
    refused('feature "lot" is missing', lambda: client.infer(MODEL, inputs(module, missing)))
    refused('output "prize" is not there', lambda: client.infer(
        MODEL, inputs(module, rows(1)), outputs=[module.InferRequestedOutput("prize")]))
    shape = dict(rows(2), area=np.ones((1, 1)))
    refused("rows", lambda: client.infer(MODEL, inputs(module, shape)))
    integer = module.InferInput("zone", [1, 1], "INT32")
    integer.set_data_from_numpy(np.ones((1, 1), dtype=np.int32))
    others = inputs(module, {name: values for name, values in rows(1).items() if name != "zone"})
    refused("the feature takes BYTES", lambda: client.infer(MODEL, others + [integer]))
    refused("is not served", lambda: client.infer(
        "tumour", [matrix], outputs=[module.InferRequestedOutput("malignant", class_count=1)]))
    refused("by publishing it", lambda: client.load_model(MODEL))
    refused("by publishing it", lambda: client.unload_model(MODEL))
    return expected


def over_http():
    client = http.InferenceServerClient(ADDRESS, concurrency=4)
    expected = common(http, client)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(MODEL)
    assert [tensor["name"] for tensor in metadata["inputs"]] == NUMERIC + ["zone", "heating"]
    config = client.get_model_config(MODEL, "4")
    assert config["max_batch_size"] == 10000 and config["input"][4]["data_type"] == "TYPE_STRING"
    index = client.get_model_repository_index()
    assert [(model["name"], model["state"]) for model in index] == [(MODEL, "READY"), ("tumour", "READY")]
    assert not client.is_model_ready("nope")

    answer = [http.InferRequestedOutput("price", binary_data=False)]
    for count, price in expected.items():
        for form in ({"binary_data": True}, {"binary_data": False}):
            for outputs in (None, answer):
                tensors = inputs(http, rows(count), **form)
                same(client.infer(MODEL, tensors, outputs=outputs).as_numpy("price"), price)
    response = client.infer(MODEL, inputs(http, rows(1)), request_id="a7").get_response()
    assert response["model_version"] == "4" and response["id"] == "a7"
    assert response["parameters"]["digest"].startswith("blake3:") and response["parameters"]["generation"] == 4
    hasty = http.InferenceServerClient(ADDRESS, network_timeout=0.001)
    try:
        hasty.infer(MODEL, inputs(http, rows(10_000)))
        raise AssertionError("answered in a millisecond")
    except TimeoutError:
        pass
    waiting = [client.async_infer(MODEL, inputs(http, rows(500))) for _ in range(8)]
    for result in waiting:
        same(result.get_result().as_numpy("price"), expected[500])


def over_grpc():
    client = grpc.InferenceServerClient(ADDRESS)
    expected = common(grpc, client)
    assert "model_repository" in client.get_server_metadata().extensions
    assert client.get_model_metadata(MODEL).inputs[4].datatype == "BYTES"
    assert client.get_model_config(MODEL, as_json=True)["config"]["max_batch_size"] == 10000
    index = client.get_model_repository_index()
    assert [(model.name, model.state) for model in index.models] == [(MODEL, "READY"), ("tumour", "READY")]
    error = refused("", lambda: client.is_model_ready("nope"))
    assert error.status() == "StatusCode.NOT_FOUND", error
    many = inputs(grpc, rows(10_000))
    error = refused("", lambda: client.infer(MODEL, many, client_timeout=0.001))
    assert error.status() == "StatusCode.DEADLINE_EXCEEDED", error
    # Both ends keep the deadline, and either may be first.
    assert "Deadline Exceeded" in str(error) or "(grpc-timeout)" in str(error), error
    error = refused("/metrics", lambda: client.get_inference_statistics(MODEL))
    assert error.status() == "StatusCode.UNIMPLEMENTED", error

    response = client.infer(MODEL, inputs(grpc, rows(1)), request_id="a7").get_response()
    assert response.model_version == "4" and response.id == "a7"
    assert response.parameters["digest"].string_param.startswith("blake3:")
    assert response.parameters["generation"].int64_param == 4

    answers = queue.Queue()
    put = lambda result, error: answers.put((result, error))
    for _ in range(8):
        client.async_infer(MODEL, inputs(grpc, rows(500)), put)
    for _ in range(8):
        result, error = answers.get(timeout=60)
        assert error is None, error
        same(result.as_numpy("price"), expected[500])
    client.start_stream(put)
    for name in (MODEL, "nope", MODEL):
        client.async_stream_infer(name, inputs(grpc, rows(500)))
    streamed = [answers.get(timeout=60) for _ in range(3)]
    same(streamed[0][0].as_numpy("price"), expected[500])
    assert 'no model "nope"' in str(streamed[1][1])
    same(streamed[2][0].as_numpy("price"), expected[500])
    client.stop_stream()


if __name__ == "__main__":
    over_http()
    print("http: as it should be")
    over_grpc()
    print("grpc: as it should be")
