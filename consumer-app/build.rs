//! Compiles the gRPC protocol at build time, without a system's protoc.
//!
//! # Invariants
//! * Raw tensors are slices of the message that they came in (`bytes`), never copies.

use std::{error::Error, path::PathBuf};

use prost::Message as _;

const PROTO: &str = "proto/inference.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile([PROTO], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("inference.fds"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        .bytes(".inference.InferTensorContents.bytes_contents")
        .btree_map(".")
        .codec_path("crate::grpc::codec::CheckedCodec")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed={PROTO}");
    Ok(())
}
