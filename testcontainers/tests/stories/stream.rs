//! Records go from topic to topic, each exactly once: though members are killed, join and leave, and while versions are
//! swapped; what cannot be scored goes to the dead letters, and a replay takes the champions of the past.

mod letters;
mod once;
mod replay;
mod rights;
mod swap;
mod topics;
mod without_transactions;
