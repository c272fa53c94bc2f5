//! Stored predictions, over SQLite and over PostgreSQL: what holds for one holds for the other.

mod fixture;
mod pages;
mod seen;
mod serve;
mod store;
mod verbs;
