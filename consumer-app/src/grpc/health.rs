//! `grpc.health.v1`: whether the application, or one model of it, serves. Asked of the live handles each time.
//!
//! # Invariants
//! * Holds no status of its own: what it says is what is live.
//! * A watch gets each change of the answer, the latest where it is slow, and ends at the shutdown.

use std::{pin::Pin, sync::Arc};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    future::{pending, select_all},
    stream,
};
use modelcast::ModelState;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

use crate::{router::Shared, served::ServedModels, server::Ending};

/// The name that clients ask for the whole service by, beside the empty one.
const SERVICE: &str = "inference.GRPCInferenceService";

/// Health by what is live.
pub(super) struct LiveHealth {
    models: Arc<ServedModels>,
    ending: watch::Receiver<Ending>,
}

struct Follower {
    models: Arc<ServedModels>,
    ending: watch::Receiver<Ending>,
    changes: Vec<watch::Receiver<ModelState>>,
    service: String,
    said: Option<ServingStatus>,
}

impl LiveHealth {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { models: Arc::clone(&shared.models), ending: shared.ending.clone() }
    }
}

type Changes = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for LiveHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        match status(&self.models, &service, *self.ending.borrow()) {
            ServingStatus::ServiceUnknown => Err(match self.models.model(&service) {
                Err(refusal) => refusal.into(),
                Ok(_) => Status::not_found("no such service"),
            }),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Changes>, Status> {
        let follower = Follower {
            models: Arc::clone(&self.models),
            ending: self.ending.clone(),
            changes: self.models.models().map(|model| model.live().watch()).collect(),
            service: request.into_inner().service,
            said: None,
        };
        Ok(Response::new(stream::unfold(follower, Follower::next).boxed()))
    }
}

impl Follower {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            for changes in &mut self.changes {
                changes.mark_unchanged();
            }
            let ending = *self.ending.borrow_and_update();
            if ending == Ending::Closing {
                return None;
            }
            let now = status(&self.models, &self.service, ending);
            if self.said != Some(now) {
                self.said = Some(now);
                return Some((Ok(HealthCheckResponse { status: now.into() }), self));
            }
            let changes = self.changes.iter_mut().map(|changes| changes.changed().boxed());
            // Never ready, and there where no model is.
            let changed = select_all(changes.chain(std::iter::once(pending().boxed())));
            tokio::select! {
                biased;
                changed = self.ending.changed() => changed.ok()?,
                // A handle that is gone is one of an application that ends.
                (changed, ..) = changed => changed.ok()?,
            }
        }
    }
}

fn status(models: &ServedModels, service: &str, ending: Ending) -> ServingStatus {
    let ready = match service {
        "" | SERVICE => models.is_ready() && ending == Ending::No,
        name => match models.model(name) {
            Ok(model) => model.live().load().is_some(),
            Err(_) => return ServingStatus::ServiceUnknown,
        },
    };
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}
