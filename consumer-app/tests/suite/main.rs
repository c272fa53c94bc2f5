//! The application over real sockets, without Kafka: one binary for all of it.

#[cfg(test)]
mod batch;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hostile_bytes;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod observe;
#[cfg(test)]
mod oip;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod page;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod predictions;
#[cfg(test)]
mod program;
#[cfg(test)]
mod schemathesis;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod triton;
