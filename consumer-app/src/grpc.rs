//! The Open Inference Protocol over gRPC, on the port of REST: the same requests, checks, limits and sentences.
//!
//! Here are the routes and the calls; `messages` takes what arrives in under caps, `tensors` translates, and
//! everything between is that of REST (see `oip`). Health (`health`) and reflection are beside it.
//!
//! # Invariants
//! * One call uses one snapshot; its answer names version, digest and generation.
//! * What a caller sends never ends in INTERNAL; that is only ever a model that failed.

mod bounds;
mod codec;
mod health;
mod messages;
mod status;
mod tensors;

/// The messages of `proto/inference.proto`, and its client and server.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::clone_on_ref_ptr,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("inference");
}

use std::{any::Any, pin::Pin, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request as HttpRequest, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response as HttpResponse},
};
use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_server::HealthServer;
use tower_http::catch_panic::CatchPanicLayer;

use self::{
    health::LiveHealth,
    messages::Held,
    proto::{
        ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
        ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ModelStreamInferResponse,
        RepositoryIndexRequest, RepositoryIndexResponse, ServerLiveRequest, ServerLiveResponse,
        ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
        grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
    },
};
use crate::{
    oip::{self, infer, repository},
    refusal::Refusal,
    router::Shared,
    server::Ending,
};

/// What the calls for health and reflection may send: names, never tensors.
const NAMES_MAX_BYTES: usize = 16 * 1024;
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.fds"));

/// The gRPC routes over these models, to be merged with those of REST.
pub(crate) fn routes(shared: &Shared) -> Router<Shared> {
    let max_bytes = shared.limits.body_max_bytes.max(NAMES_MAX_BYTES);
    let inference =
        GrpcInferenceServiceServer::new(Inference(shared.clone())).max_decoding_message_size(max_bytes);
    let health = HealthServer::new(LiveHealth::new(shared)).max_decoding_message_size(NAMES_MAX_BYTES);
    let routes = Router::new()
        .route_service("/inference.GRPCInferenceService/{method}", inference)
        .layer(from_fn_with_state(shared.clone(), take_in))
        .route_service("/grpc.health.v1.Health/{method}", health);
    with_reflection(routes, shared).layer(CatchPanicLayer::custom(lost))
}

/// Without it where the descriptors that were compiled in cannot be read, which a test would see.
fn with_reflection(routes: Router<Shared>, shared: &Shared) -> Router<Shared> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            let reflection = Router::new()
                .route_service(
                    "/grpc.reflection.v1.ServerReflection/{method}",
                    v1.max_decoding_message_size(NAMES_MAX_BYTES),
                )
                .route_service(
                    "/grpc.reflection.v1alpha.ServerReflection/{method}",
                    v1alpha.max_decoding_message_size(NAMES_MAX_BYTES),
                );
            routes.merge(reflection.layer(from_fn_with_state(shared.clone(), until_closing)))
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "gRPC reflection is not served");
            routes
        }
    }
}

/// Puts caps between the connection and the decoder, and says why a method is not served.
async fn take_in(State(shared): State<Shared>, request: HttpRequest, next: Next) -> HttpResponse {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    if let Some(reason) = not_served(method) {
        return Status::unimplemented(reason).into_http::<axum::body::Body>();
    }
    next.run(messages::capped(&shared, request)).await
}

/// Ends what a peer sends when the application closes its port: a stream that is open then would hold it up.
async fn until_closing(State(shared): State<Shared>, request: HttpRequest, next: Next) -> HttpResponse {
    let mut ending = shared.ending.clone();
    let closing = async move { ending.wait_for(|ending| *ending == Ending::Closing).await.map(drop) };
    let until = |body: Body| Body::from_stream(body.into_data_stream().take_until(Box::pin(closing)));
    next.run(request.map(until)).await
}

/// Why a method that clients of other servers know is not served.
fn not_served(method: &str) -> Option<&'static str> {
    match method {
        "RepositoryModelLoad" | "RepositoryModelUnload" => Some(repository::NO_LOADING),
        "ModelStatistics" => Some("counters and latencies are at /metrics, and what runs at /status"),
        "TraceSetting" | "LogSettings" => Some("the log is set on the command line (--log)"),
        _ if method.contains("SharedMemory") => Some(oip::request::NO_SHARED_MEMORY),
        _ => None,
    }
}

fn lost(panic: Box<dyn Any + Send + 'static>) -> HttpResponse {
    // Logs it, and says what REST says.
    drop(crate::router::lost(panic).into_response());
    Status::from(Refusal::Lost).into_http::<axum::body::Body>()
}

struct Inference(Shared);

impl Inference {
    async fn infer(
        &self,
        message: ModelInferRequest,
        held: Option<Held>,
    ) -> Result<ModelInferResponse, Refusal> {
        let served = Arc::clone(self.0.models.model(&message.model_name)?);
        let answer = async {
            let model = served.snapshot_of(asked(&message.model_version))?;
            let (served_here, rows_max) = (Arc::clone(&served), self.0.limits.rows_max);
            let bytes = held.as_ref().map_or(0, |held| held.bytes);
            let work = move || {
                // Memory for the message is accounted for until it is answered.
                let _held = held;
                let request = tensors::request(&message, rows_max)?;
                let prediction = infer::answered(&request, &served_here, &model, rows_max)?;
                Ok(tensors::response(&prediction, &message))
            };
            oip::at_pace(&served, bytes, work).await
        };
        answer.await.inspect_err(|refusal| served.count_refusal(refusal))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: oip::is_server_ready(&self.0) }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = oip::is_ready(self.0.models.model(&name)?, asked(&version))?;
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: oip::SERVER_NAME.to_owned(),
            version: oip::SERVER_VERSION.to_owned(),
            extensions: oip::EXTENSIONS.iter().map(|&extension| extension.to_owned()).collect(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let model = self.0.models.model(&name)?.snapshot_of(asked(&version))?;
        Ok(Response::new(tensors::metadata(&model)))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let held = messages::held(request.extensions());
        Ok(Response::new(self.infer(request.into_inner(), held).await?))
    }

    type ModelStreamInferStream = Answers;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (_, extensions, messages) = request.into_parts();
        let state = (Self(self.0.clone()), extensions, messages);
        let answers = stream::try_unfold(state, |(inference, extensions, mut messages)| async {
            let Some(message) = messages.message().await? else { return Ok(None) };
            let (infer_response, error_message) =
                match inference.infer(message, messages::held(&extensions)).await {
                    Ok(answer) => (Some(answer), String::new()),
                    Err(refusal) => (None, refusal.to_string()),
                };
            let answer = ModelStreamInferResponse { error_message, infer_response };
            Ok(Some((answer, (inference, extensions, messages))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let model = self.0.models.model(&name)?.snapshot_of(asked(&version))?;
        let config = tensors::config(&model, self.0.limits.rows_max);
        Ok(Response::new(ModelConfigResponse { config: Some(config) }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let index = repository::index(&self.0.models, request.into_inner().ready);
        Ok(Response::new(RepositoryIndexResponse { models: index.map(tensors::index_entry).collect() }))
    }
}

/// The version that a call asks for: the protocol's empty text is none.
fn asked(version: &str) -> Option<&str> {
    Some(version).filter(|version| !version.is_empty())
}
