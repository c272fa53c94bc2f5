//! Closing a librdkafka client where nobody waits for it.
//!
//! A consumer that is dropped waits for its group to let go, which can hang when the broker is gone
//! (rust-rdkafka#509); a producer waits up to half a second for what it has to throw away. Neither may hold up a
//! runtime's thread or the thread that follows the news.
//!
//! A process that ends meanwhile may crash: what TLS stands on is taken down under the threads that still use it (seen
//! once in 150 ends). So a program waits for them last of all, for a while.

use std::{
    ops::Deref,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How many clients are being closed.
static CLOSING: Mutex<usize> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

/// A client that is dropped on a thread of its own.
pub(crate) struct Closing<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Closing<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for Closing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl<T: Send + 'static> Drop for Closing<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        let counted = Counted::new();
        // Were there no thread to be had, the client is dropped with the closure, here: slower, still right.
        drop(thread::Builder::new().name("modelcast-close".into()).spawn(move || {
            drop(client);
            drop(counted);
        }));
    }
}

/// Waits until every client that was dropped has let go, for so long at most; gives whether they have.
///
/// For the end of `main`: a client that still closes then may crash the process. Milliseconds, unless a broker that
/// is gone holds one up.
pub fn wait_until_closed(within: Duration) -> bool {
    let count = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = CLOSED.wait_timeout_while(count, within, |count| *count > 0);
    let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
    *count == 0
}

/// One that is being closed.
struct Counted;

impl Counted {
    fn new() -> Self {
        *CLOSING.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *CLOSING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        CLOSED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Client(mpsc::Sender<thread::ThreadId>);

    impl Drop for Client {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn a_client_is_closed_on_another_thread() {
        let (closed, on) = mpsc::channel();
        drop(Closing::new(Client(closed)));
        assert_ne!(on.recv().unwrap(), thread::current().id());
    }

    #[test]
    fn the_end_waits_for_clients_that_are_being_closed() {
        struct Slow(mpsc::Receiver<()>);
        impl Drop for Slow {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let (go_on, told) = mpsc::channel();
        drop(Closing::new(Slow(told)));
        assert!(!wait_until_closed(Duration::from_millis(10)), "it cannot have let go");
        go_on.send(()).unwrap();
        assert!(wait_until_closed(Duration::from_secs(60)));
    }
}
