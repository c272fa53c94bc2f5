//! Bytes that no client sends, over gRPC and behind JSON: each ends in a refusal, and nothing else is touched.

use std::io::{Read as _, Write as _};

use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    fixture::{Server, connect, house_inputs},
    grpc::{channel, houses, rows},
};

/// A call made by hand: its bytes as they are, over h2 in the clear.
fn call(server: &Server, method: &str, body: Vec<u8>) -> (u16, Option<String>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut channel = channel(&runtime, server);
    runtime.block_on(async {
        use tower::{Service as _, ServiceExt as _};
        let request = axum::http::Request::post(method).header("content-type", "application/grpc");
        let request = request.body(tonic::body::Body::new(axum::body::Body::from(body))).unwrap();
        let response = channel.ready().await.unwrap().call(request).await.unwrap();
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (status, header("grpc-status"), header("grpc-message").unwrap_or_default())
    })
}

#[test]
fn bytes_that_are_no_message_are_invalid_and_never_internal() {
    let server = houses();
    let infer = "/inference.GRPCInferenceService/ModelInfer";
    let right = rows(2).message(true).encode_to_vec();
    let framed = |flag: u8, len: usize, bytes: &[u8]| {
        [&[flag][..], &u32::try_from(len).unwrap().to_be_bytes(), bytes].concat()
    };
    let rows: [(Vec<u8>, &str); 10] = [
        (vec![], "the call has no message"),
        (vec![0, 0], "a message ends after 2 of 5 bytes"),
        (framed(0, 16 << 20, &right), "bytes"),
        (framed(0, 0xffff_ffff, &right), "larger than"),
        (framed(7, right.len(), &right), "the flag 7"),
        (framed(1, right.len(), &right), "compressed otherwise"),
        (framed(0, right.len(), &right).repeat(2), "more than one message"),
        (framed(0, 3, &[0xff; 3]), ""),
        (framed(0, right.len() - 5, &right[..right.len() - 5]), ""),
        (framed(0, 4, &[0x2a, 0xff, 0xff, 0x7f]), ""),
    ];
    for (body, words) in rows {
        let (status, code, message) = call(&server, infer, body.clone());
        assert_eq!(status, 200);
        let head = &body[..body.len().min(12)];
        assert!(matches!(code.as_deref(), Some("3" | "8")), "{head:?}: {code:?} {message}");
        let message = message.replace("%20", " ");
        assert!(message.contains(words), "{head:?}: {message}");
    }
    for (method, words) in [
        ("RepositoryModelLoad", "by publishing it"),
        ("SystemSharedMemoryRegister", "shared memory"),
        ("ModelStatistics", "/metrics"),
        ("NoSuchCall", ""),
    ] {
        let (_, code, message) =
            call(&server, &format!("/inference.GRPCInferenceService/{method}"), vec![0; 5]);
        assert_eq!(code.as_deref(), Some("12"), "{method}");
        assert!(message.replace("%20", " ").contains(words), "{method}: {message}");
    }
    let mut garbage = connect(&server);
    garbage.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    // The server may close at the first byte that it does not understand.
    drop(garbage.write_all(&[0xff; 10_000]));
    assert_eq!(server.infer("property-value", &house_inputs(1)).status, 200, "still serving");
}

#[test]
fn wrong_lengths_of_binary_data_are_4xx() {
    let server = houses();
    let path = "/v2/models/property-value/infer";
    let (body, json_len) = rows(2).binary();
    // As many bytes as the tensors say, and more values than the shape.
    let (longer, longer_json_len) = rows(3).binary();
    let (json, behind) = longer.split_at(longer_json_len);
    let json = str::from_utf8(json).unwrap().replace("[3,1]", "[2,1]");
    let longer = [json.as_bytes(), behind].concat();
    let rows: [(&[u8], usize, &str); 6] = [
        (&longer, longer_json_len, "tensor \"area\": has 3 values, and its shape [2, 1] says 2"),
        (&body, body.len() + 1, "and the body has"),
        (&body, usize::MAX, "and the body has"),
        (&body, json_len - 1, "line 1 column"),
        (&body[..body.len() - 1], json_len, "tensor \"heating\": binary_data_size is 16, and 15"),
        (&[&body[..], b"x"].concat(), json_len, "1 bytes behind the JSON belong to no tensor"),
    ];
    for (body, json_len, words) in rows {
        let answer = server.post_binary(path, body, json_len);
        assert_eq!(answer.status, 400, "{words}: {:?}", answer.json);
        let error = answer.json["error"].as_str().unwrap();
        assert!(error.contains(words), "{words}: {error}");
    }
    let sized = |size: Value| {
        let mut inputs = house_inputs(1);
        inputs[0].as_object_mut().unwrap().remove("data");
        inputs[0]["parameters"] = json!({ "binary_data_size": size });
        server.infer("property-value", &inputs).error()
    };
    assert!(sized(json!(u64::MAX)).contains("and 0 bytes are left"), "{}", sized(json!(u64::MAX)));
    assert!(sized(json!(-1)).contains("inputs[0]"), "{}", sized(json!(-1)));
}

#[test]
fn a_body_compressed_in_an_unknown_way_or_beyond_the_limit_is_refused() {
    let server = houses();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 17 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let rows: [(&str, &[u8], &str, &str); 3] = [
        ("br", b"{}", "415", "gzip or deflate"),
        ("gzip", b"{}", "400", "broke off"),
        ("gzip", &bomb, "413", "larger than 16777216 bytes (http.body_max_bytes)"),
    ];
    for (encoding, body, status, words) in rows {
        let mut stream = connect(&server);
        let head = format!(
            "POST /v2/models/tumour/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words), "{answer}");
    }
}
