//! Closing a librdkafka client where nobody waits for it.
//!
//! A consumer that is dropped waits for its group to let go, which can hang when the broker is gone
//! (rust-rdkafka#509); a producer waits up to half a second for what it has to throw away. Neither may hold up a
//! runtime's thread or the thread that follows the news.

use std::{ops::Deref, thread};

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
        // Were there no thread to be had, the client is dropped with the closure, here: slower, still right.
        drop(thread::Builder::new().name("modelcast-close".into()).spawn(move || drop(client)));
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
}
