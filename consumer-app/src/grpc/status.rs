//! The gRPC status of a refusal: its code, and the same sentence as over REST.

use tonic::Status;

use crate::refusal::Refusal;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.grpc_code(), refusal.to_string())
    }
}
