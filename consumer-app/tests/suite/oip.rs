//! The Open Inference Protocol over real sockets: right requests, and every wrong one that we could think of.

use std::io::{Read as _, Write as _};

use crate::{
    fixture::{Server, bytes, connect, fixed, fp64, house, house_inputs, name, superstitious, tumour},
    http2::Http2,
};
use consumer_app::settings::HttpSettings;
use modelcast::LiveModel;
use modelcast_models::{RowEncoder, Value as RowValue};
use serde_json::{Value, json};

fn houses() -> Server {
    Server::start([fixed(house(4)), fixed(tumour(1))])
}

/// The price that the model itself gives.
fn expected(number: u64, area: f64) -> f64 {
    let model = house(number);
    let values = [
        ("area", RowValue::Number(area)),
        ("lot", RowValue::Number(9000.0)),
        ("built", RowValue::Number(1990.0)),
        ("baths", RowValue::Number(2.0)),
        ("zone", RowValue::Category("Old_Town")),
        ("heating", RowValue::Category("Good")),
    ];
    let (mut row, mut outputs) = (Vec::new(), [0.0]);
    RowEncoder::encode_row(model.encoder(), values, &mut row).unwrap();
    model.predict(&row, &mut outputs).unwrap();
    outputs[0]
}

#[test]
fn an_answer_names_version_digest_and_generation_and_is_right_to_the_last_bit() {
    let server = houses();
    let mut request = json!({ "id": "a7", "inputs": house_inputs(2) });
    request["inputs"][0]["data"] = json!([1500.0, 2222.0]);
    for path in ["/v2/models/property-value/infer", "/v2/models/property-value/versions/4/infer"] {
        let answer = server.post(path, request.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text);
        let json = answer.json();
        assert_eq!((&json["model_name"], &json["model_version"]), (&json!("property-value"), &json!("4")));
        assert_eq!(json["id"], "a7");
        let digest = house(4).digest().to_string();
        assert_eq!(json["parameters"], json!({ "digest": digest, "generation": 4 }));
        let data = json!([expected(4, 1500.0), expected(4, 2222.0)]);
        let output = json!({ "name": "price", "shape": [2, 1], "datatype": "FP64", "data": data });
        assert_eq!(json["outputs"], json!([output]));
    }
}

#[test]
fn every_form_of_the_same_rows_gives_the_same_answer() {
    let server = houses();
    let plain = server.infer("property-value", &house_inputs(2)).json()["outputs"].clone();
    let forms: [fn(&mut Value); 6] = [
        |inputs| inputs[0]["shape"] = json!([2]),
        |inputs| inputs[0]["data"] = json!([[1500.0], [1500.0]]),
        |inputs| inputs[0]["datatype"] = json!("FP32"),
        |inputs| {
            inputs[0] = json!({ "name": "area", "shape": [2, 1], "datatype": "INT64", "data": [1500, 1500] })
        },
        |inputs| inputs[3] = json!({ "name": "baths", "shape": [2, 1], "datatype": "UINT8", "data": [2, 2] }),
        |inputs| inputs.as_array_mut().unwrap().reverse(),
    ];
    for (index, form) in forms.into_iter().enumerate() {
        let mut inputs = house_inputs(2);
        form(&mut inputs);
        let answer = server.infer("property-value", &inputs);
        assert_eq!(answer.status, 200, "form {index}: {}", answer.text);
        assert_eq!(answer.json()["outputs"], plain, "form {index}");
    }
}

#[test]
fn one_tensor_holds_all_features_where_all_are_numbers() {
    let server = houses();
    let columns = json!([fp64("radius", &[10.0, 25.0]), fp64("texture", &[15.0, 30.0])]);
    let by_column = server.infer("tumour", &columns).json()["outputs"].clone();
    assert_eq!(
        by_column[1],
        json!({ "name": "malignant_label", "shape": [2, 1], "datatype": "BYTES",
        "data": ["benign", "malignant"] })
    );
    for data in [json!([10.0, 15.0, 25.0, 30.0]), json!([[10.0, 15.0], [25.0, 30.0]])] {
        let matrix = json!([{ "name": "features", "shape": [2, 2], "datatype": "FP64", "data": data }]);
        assert_eq!(server.infer("tumour", &matrix).json()["outputs"], by_column);
    }
    let rows = [
        (json!({ "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3] }), "is not [rows, 2]"),
        (json!({ "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3] }), "has 3 values"),
        (json!({ "shape": [2, 2], "datatype": "FP64", "data": [[1, 2, 3, 4]] }), "inner lists"),
        (json!({ "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"] }), "holds texts"),
        (
            json!({ "shape": [1, 2], "datatype": "INT8", "data": [1, 2000] }),
            "row 0, feature \"texture\": 2000",
        ),
    ];
    for (mut tensor, words) in rows {
        tensor["name"] = json!("features");
        let answer = server.infer("tumour", &json!([tensor]));
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains(words), "{}", answer.text);
    }
    let mixed =
        json!([{ "name": "features", "shape": [1, 6], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6] }]);
    assert!(server.infer("property-value", &mixed).error().contains("\"zone\" is a category"));
}

#[test]
fn the_outputs_asked_for_are_answered_in_their_order() {
    let server = houses();
    let ask = |outputs: Value| {
        let inputs = json!([fp64("radius", &[10.0]), fp64("texture", &[15.0])]);
        server.post("/v2/models/tumour/infer", json!({ "inputs": inputs, "outputs": outputs }).to_string())
    };
    let names = |outputs: Value| -> Vec<String> {
        let json = ask(outputs).json();
        json["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| output["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(names(json!([])), ["malignant", "malignant_label"]);
    assert_eq!(names(json!([{ "name": "malignant_label" }])), ["malignant_label"]);
    let both = json!([{ "name": "malignant_label" }, { "name": "malignant" }]);
    assert_eq!(names(both), ["malignant_label", "malignant"]);
    for (outputs, words) in [
        (json!([{ "name": "price" }]), "\"price\" is not there; there is malignant, malignant_label"),
        (json!([{ "name": "malignant" }, { "name": "malignant" }]), "asked for twice"),
        (json!([{}]), "outputs[0]: missing field `name`"),
    ] {
        let answer = ask(outputs);
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains(words), "{}", answer.text);
    }
}

#[test]
fn what_training_did_not_see_warns_and_is_answered() {
    let server = houses();
    let mut inputs = house_inputs(2);
    inputs[2]["data"] = json!([1990.0, 2030.0]);
    inputs[4]["data"] = json!(["Atlantis", "Old_Town"]);
    let answer = server.infer("property-value", &inputs);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let warnings = answer.json()["parameters"]["warnings"].to_string();
    assert!(warnings.contains("row 1: built = 2030 is outside of 1872 to 2010"), "{warnings}");
    assert!(warnings.contains("row 0: zone has a category not seen"), "{warnings}");
    inputs = house_inputs(500);
    inputs[2]["data"] = json!(vec![3000.0; 500]);
    let warnings = server.infer("property-value", &inputs).json()["parameters"]["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 17);
    assert_eq!(warnings[16], "and 484 more warnings");
}

/// Each row: what is changed in a right request, the status, and words of the error.
#[test]
fn every_wrong_tensor_is_a_4xx_that_names_it() {
    let server = houses();
    type Row = (fn(&mut Value), u16, &'static str);
    let rows: [Row; 24] = [
        (|inputs| drop(inputs.as_array_mut().unwrap().remove(1)), 400, "feature \"lot\" is missing"),
        (|inputs| inputs.as_array_mut().unwrap().truncate(2), 400, "\"built\" is missing, and 3 more"),
        (|inputs| *inputs = json!([]), 400, "`inputs` is an empty list"),
        (
            |inputs| inputs[0]["name"] = json!("aera"),
            400,
            "tensor \"aera\": there is no feature \"aera\"; near it: area",
        ),
        (|inputs| inputs[1] = inputs[0].clone(), 400, "tensor \"area\": stands there twice"),
        (|inputs| inputs[0]["datatype"] = json!("BYTES"), 400, "tensor \"area\": the feature takes FP64"),
        (|inputs| inputs[0]["datatype"] = json!("BOOL"), 400, "not \"BOOL\""),
        (|inputs| inputs[0]["datatype"] = json!("FP128"), 400, "not \"FP128\""),
        (|inputs| inputs[4]["datatype"] = json!("FP64"), 400, "tensor \"zone\": the feature takes BYTES"),
        (|inputs| inputs[0] = bytes("area", &["1", "2"]), 400, "tensor \"area\""),
        (|inputs| inputs[0]["data"] = json!(["1", "2"]), 400, "tensor \"area\": the feature takes numbers"),
        (|inputs| inputs[4]["data"] = json!([1, 2]), 400, "tensor \"zone\": the feature takes texts"),
        (|inputs| inputs[0]["data"] = json!([1, null]), 400, "inputs[0]: data[1]: null"),
        (|inputs| inputs[0]["data"] = json!([true, false]), 400, "inputs[0]: data[0]: true"),
        (|inputs| inputs[0]["data"] = json!([[[1]], [[2]]]), 400, "nested more than two deep"),
        (|inputs| inputs[0]["data"] = json!([[1, 2]]), 400, "inner lists"),
        (
            |inputs| inputs[0]["data"] = json!([1, 2, 3]),
            400,
            "tensor \"area\": has 3 values, and its shape [2, 1] says 2",
        ),
        (|inputs| inputs[0]["data"] = json!([]), 400, "has 0 values"),
        (
            |inputs| inputs[3] = fp64("baths", &[1.0; 3]),
            400,
            "tensor \"baths\": has 3 rows and tensor \"area\" has 2",
        ),
        (|inputs| inputs[0]["shape"] = json!([2, 2]), 400, "tensor \"area\": has the shape [2, 2]"),
        (|inputs| inputs[0]["shape"] = json!([]), 400, "has the shape []"),
        (
            |inputs| inputs[0]["shape"] = json!([u64::MAX, u64::MAX]),
            413,
            "18446744073709551615 rows are more than 10000",
        ),
        (
            |inputs| inputs[5]["data"] = json!(["Good", "Godo"]),
            400,
            "row 1: feature \"heating\" has no category \"Godo\"",
        ),
        (
            |inputs| {
                inputs[0] = json!({ "name": "area", "shape": [2], "datatype": "INT8", "data": [1, 1.5] })
            },
            400,
            "tensor \"area\": row 1: 1.5 is not a whole number",
        ),
    ];
    for (change, status, words) in rows {
        let mut inputs = house_inputs(2);
        change(&mut inputs);
        let answer = server.infer("property-value", &inputs);
        assert_eq!(answer.status, status, "{words}: {}", answer.text);
        assert!(answer.error().contains(words), "{words}: {}", answer.text);
    }
    let none = json!([fp64("radius", &[]), fp64("texture", &[])]);
    assert!(server.infer("tumour", &none).error().contains("has no rows"));
    assert_eq!(server.infer("property-value", &house_inputs(1)).status, 200, "still serving");
}

#[test]
fn what_is_no_json_is_told_line_and_column() {
    let server = houses();
    let right = json!({ "inputs": house_inputs(1) }).to_string();
    let swapped = |from: &str, to: &str| right.replacen(from, to, 1).into_bytes();
    let rows: [(Vec<u8>, &str); 9] = [
        (Vec::new(), "it is empty"),
        (b"area=1500".to_vec(), "line 1 column 1"),
        (b"{\"inputs\":\n [}".to_vec(), "line 2 column 3"),
        (swapped("1500.0", "NaN"), "JSON has no NaN"),
        (swapped("1500.0", "-Infinity"), "JSON has no NaN and no Infinity"),
        (swapped("1500.0", "1e999"), "inputs[0]: data[0]: number out of range"),
        (swapped("Old_Town", "\\ud800"), "line 1 column"),
        ([b"{\"inputs\": [{\"name\": \"".as_slice(), &[0xff, 0xfe], b"\"}]}"].concat(), "line 1 column"),
        ([vec![b'['; 200_000], vec![b']'; 200_000]].concat(), "line 1 column"),
    ];
    for (body, words) in rows {
        let answer = server.post("/v2/models/property-value/infer", &body);
        assert_eq!(answer.status, 400, "{words}: {}", answer.text);
        assert!(answer.error().contains(words), "{words}: {}", answer.text);
    }
}

#[test]
fn ten_thousand_rows_too_many_are_refused_with_the_limit_and_ten_thousand_are_answered() {
    let server = houses();
    let answer = server.infer("property-value", &house_inputs(20_000));
    assert_eq!(answer.status, 413);
    assert_eq!(answer.error(), "20000 rows are more than 10000 (http.rows_max)");
    let answer = server.infer("property-value", &house_inputs(10_000));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["outputs"][0]["data"].as_array().unwrap().len(), 10_000);
}

#[test]
fn a_row_beyond_any_number_is_the_callers_error_and_names_the_row() {
    let server = houses();
    let mut inputs = house_inputs(2);
    inputs[0]["data"] = json!([1500.0, 1e300]);
    let answer = server.infer("property-value", &inputs);
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.error().contains("row 1"), "{}", answer.text);
}

/// Few rows are predicted on the runtime's threads, and many on others: a panic is contained on both.
#[test]
fn a_model_that_panics_or_fails_costs_its_own_request_only() {
    let live = fixed(superstitious());
    let server = Server::start([live.clone()]);
    for rows in [1, 9_000] {
        for (floor, words) in [(13.0, "failed inside the application"), (14.0, "row 0: no such floor")] {
            let answer = server.infer("lift", &json!([fp64("floor", &vec![floor; rows])]));
            assert_eq!(answer.status, 500, "{}", answer.text);
            assert!(answer.error().contains(words), "{}", answer.text);
        }
        let answer = server.infer("lift", &json!([fp64("floor", &vec![12.0; rows])]));
        assert_eq!(answer.json()["outputs"][0]["data"], json!(vec![12.0; rows]));
    }
    assert_eq!((live.traffic().predictions(), live.traffic().errors()), (9_001, 9_001));
}

#[test]
fn bodies_together_take_no_more_than_their_budget() {
    let http = HttpSettings {
        body_max_bytes: 20_480,
        bodies_max_bytes: 20_480,
        body_timeout_seconds: 1,
        ..HttpSettings::default()
    };
    let server = Server::with([fixed(house(4))], http);
    let path = "/v2/models/property-value/infer";
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n");
    // Each body that begins holds the whole budget, one step, until its deadline: behind two of them is no room in time.
    let held = crate::fixture::until("the budget is taken", || {
        let held = [connect(&server), connect(&server)];
        held.iter().for_each(|mut stream| stream.write_all(head.as_bytes()).unwrap());
        let answer = server.infer("property-value", &house_inputs(1));
        (answer.status == 503).then(|| {
            assert!(answer.error().contains("bodies_max_bytes"), "{}", answer.text);
            held
        })
    });
    drop(held);
    crate::fixture::until("there is room again", || {
        (server.infer("property-value", &house_inputs(1)).status == 200).then_some(())
    });
}

/// Over REST and over gRPC: lengths that are claimed, and bodies that do not come.
#[test]
fn a_body_that_is_only_claimed_takes_no_room_from_others() {
    const MAX: usize = 1 << 20;
    let http = HttpSettings { body_max_bytes: MAX, bodies_max_bytes: MAX, ..HttpSettings::default() };
    let server = Server::with([fixed(house(4))], http);
    let head =
        format!("POST /v2/models/property-value/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX}\r\n\r\n");
    let mut claimed = [connect(&server), connect(&server)];
    claimed.iter_mut().for_each(|stream| stream.write_all(head.as_bytes()).unwrap());
    let mut client = Http2::connect(server.address);
    let grpc = [("content-type", "application/grpc")];
    let mut asked = client.ask("POST", "/inference.GRPCInferenceService/ModelInfer", &grpc, true);
    let prefix = [&[0][..], &u32::try_from(MAX - 5).unwrap().to_be_bytes(), b"x"].concat();
    asked.body.send_data(prefix.into(), false).unwrap();
    let under_way = || server.get("/metrics").text.contains("modelcast_requests_under_way 3\n").then_some(());
    crate::fixture::until("the claims are under way", under_way);
    for _ in 0..5 {
        let since = std::time::Instant::now();
        assert_eq!(server.infer("property-value", &house_inputs(1)).status, 200);
        assert!(since.elapsed() < std::time::Duration::from_secs(5), "answered, not after a deadline");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_with_the_limit_however_it_is_sent() {
    let http = HttpSettings { body_max_bytes: 20_000, bodies_max_bytes: 40_000, ..HttpSettings::default() };
    let server = Server::with([fixed(house(4))], http);
    let path = "/v2/models/property-value/infer";
    for bytes in [20_001, 39_000, 5_000_000] {
        let mut stream = connect(&server);
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // The server may close before it has read 5 MB that it will not take.
        let sent = stream.write_all(&vec![b' '; bytes]);
        if bytes < 40_000 {
            sent.unwrap();
            let mut answer = vec![0; 1000];
            let read = stream.read(&mut answer).unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
            assert!(answer.contains("larger than 20000 bytes (http.body_max_bytes)"), "{answer}");
        }
    }
    assert_eq!(server.infer("property-value", &house_inputs(1)).status, 200, "still serving");
}

#[test]
fn a_body_that_does_not_come_ends_in_a_408() {
    let http = HttpSettings { body_timeout_seconds: 1, ..HttpSettings::default() };
    let server = Server::with([fixed(house(4))], http);
    let mut stream = connect(&server);
    let head = "POST /v2/models/property-value/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("within 1 s"), "{answer}");
}

#[test]
fn an_unknown_model_version_or_path_is_a_404_that_names_what_there_is() {
    let server = houses();
    let rows = [
        ("/v2/models/nope", "no model \"nope\" here; there is property-value, tumour"),
        ("/v2/models/%ff/ready", "there is property-value"),
        ("/v2/models/property-value/versions/3", "does not serve version \"3\"; it serves version 4"),
        ("/v2/models/property-value/versions/x/ready", "does not serve version \"x\""),
        ("/v2/models/property-value/infer", "there is no GET /v2/models/property-value/infer"),
        ("/v3", "there is no GET /v3"),
        ("/models/nope/events", "no model \"nope\""),
    ];
    for (path, words) in rows {
        let answer = server.get(path);
        assert!(answer.error().contains(words), "{path}: {}", answer.text);
        assert_eq!(answer.status, 404, "{path}");
    }
    let body = json!({ "inputs": house_inputs(1) }).to_string();
    for path in ["/v2/models/nope/infer", "/v2/models/property-value/versions/3/infer"] {
        assert_eq!(server.post(path, &body).status, 404, "{path}");
    }
}

#[test]
fn metadata_describes_the_tensors() {
    let server = houses();
    let json = server.get("/v2/models/tumour").json();
    assert_eq!(json["versions"], json!(["1"]));
    assert_eq!(json["platform"], "modelcast_glm");
    assert_eq!(json["inputs"][0], json!({ "name": "radius", "datatype": "FP64", "shape": [-1, 1] }));
    assert_eq!(
        json["outputs"][1],
        json!({ "name": "malignant_label", "datatype": "BYTES", "shape": [-1, 1] })
    );
    assert_eq!(server.get("/v2").json()["name"], "modelcast");
    assert_eq!(server.get("/v2/models/property-value").json()["inputs"][4]["datatype"], "BYTES");
}

#[test]
fn ready_means_that_an_admitted_model_is_live_for_each_name() {
    let waiting = LiveModel::waiting(name("property-value")).unwrap();
    let server = Server::start([waiting.clone(), fixed(tumour(1))]);
    assert_eq!(server.get("/v2/health/live").status, 200);
    let body = json!({ "inputs": house_inputs(1) }).to_string();
    for path in ["/v2/health/ready", "/v2/models/property-value/ready", "/v2/models/property-value"] {
        assert_eq!(server.get(path).status, 503, "{path}");
    }
    let answer = server.post("/v2/models/property-value/infer", &body);
    assert_eq!((answer.status, answer.error()), (503, "model property-value is not ready: waiting".into()));
    assert_eq!(server.get("/v2/models/tumour/ready").status, 200);
    waiting.replace_fixed(house(4)).unwrap();
    for path in ["/v2/health/ready", "/v2/models/property-value/ready", "/v2/models/property-value"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.post("/v2/models/property-value/infer", &body).status, 200);
}

/// Versions differ on every row: an answer that mixed two would not be that of the version it names.
#[test]
fn a_request_during_a_swap_is_answered_by_one_version() {
    let live = fixed(house(1));
    let server = Server::start([live.clone()]);
    let rows = 300; // enough to leave the runtime's threads
    let body = json!({ "inputs": house_inputs(rows) }).to_string();
    let expected: Vec<f64> = (1..=40).map(|number| expected(number, 1500.0)).collect();
    let versions: std::collections::BTreeSet<u64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = std::collections::BTreeSet::new();
                    while seen.last() != Some(&40) {
                        let answer = server.post("/v2/models/property-value/infer", &body);
                        assert_eq!(answer.status, 200, "{}", answer.text);
                        let json = answer.json();
                        let number: u64 = json["model_version"].as_str().unwrap().parse().unwrap();
                        assert_eq!(json["parameters"]["generation"], number);
                        let wanted = expected[usize::try_from(number - 1).unwrap()];
                        let data = json["outputs"][0]["data"].as_array().unwrap();
                        assert!(data.iter().all(|value| value.as_f64() == Some(wanted)), "mixed at {number}");
                        seen.insert(number);
                    }
                    seen
                })
            })
            .collect();
        for number in 2..=40 {
            live.replace_fixed(house(number)).unwrap();
            let before = live.traffic().predictions();
            crate::fixture::until("traffic on each version", || {
                (live.traffic().predictions() > before).then_some(())
            });
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(versions.len() > 10, "{versions:?}");
}
