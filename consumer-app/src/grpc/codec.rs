//! Protobuf, with the caller at fault for a message that cannot be decoded.
//!
//! tonic's own says INTERNAL then, which here is only ever ours.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::refusal::Refusal;

/// What the generated code encodes and decodes with.
#[derive(Debug)]
pub(super) struct CheckedCodec<T, U>(PhantomData<(T, U)>);

/// Decodes one message.
#[derive(Debug)]
pub(super) struct CheckedDecoder<U>(PhantomData<U>);

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for CheckedCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> CheckedDecoder<U> {
        CheckedDecoder(PhantomData)
    }
}

impl<U: Message + Default> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let decoded = U::decode(message);
        decoded.map(Some).map_err(|error| Refusal::Malformed { cause: error.to_string() }.into())
    }
}
