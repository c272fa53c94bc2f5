//! What this crate promises, as properties: over any schema, any model and any bytes.
//!
//! One binary, because each one links anew. Unit tests of a single file stand at the end of that file.

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod folding;
#[cfg(test)]
mod golden_files;
#[cfg(test)]
mod golden_rows;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod rows;
