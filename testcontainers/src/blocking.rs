//! Waits for a future, whichever thread asks: inside an async runtime `block_on` would panic.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::Runtime;

/// Runs it on a runtime of the kit's own.
pub(crate) fn on_runtime<T: Send>(future: impl Future<Output = T> + Send) -> T {
    // The Docker client keeps connections that belong to the runtime which made them: there is one, for good.
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("testcontainers").enable_all();
        builder.build().expect("a runtime needs but a thread, without which no test runs either")
    });
    std::thread::scope(|scope| scope.spawn(|| runtime.block_on(future)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
