//! How `modelcast` ends: its exit codes, and an error with the code and the advice that belong to it.
//!
//! The codes are a contract with scripts; `docs/operations.md` lists what to do about each.

use std::{fmt::Write as _, process::ExitCode};

use crate::printable::printable;

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the fleet runs what it should.
    Done,
    /// Failed, or some instance does not run what it should.
    Failed,
    /// Somebody else announced first.
    Conflict,
    /// A rule said no.
    Refused,
    /// It is not known whether the change took force.
    Unknown,
    /// The configuration is wrong.
    Configuration,
    /// Kafka cannot be reached.
    Unreachable,
}

/// An error, the code to end with, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// What went wrong, with its causes.
    pub(crate) error: anyhow::Error,
    /// What to do, in one sentence or command.
    pub(crate) advice: Option<String>,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Conflict => 3,
            Self::Refused => 4,
            Self::Unknown => 5,
            Self::Configuration => 64,
            Self::Unreachable => 69,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Failure {
    /// A failure with its code and no advice.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), advice: None }
    }

    /// The same with advice.
    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// The text for stderr: the error, its causes one a line, the advice.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        push(&mut text, "error: ", &self.error.to_string());
        for cause in self.error.chain().skip(1) {
            push(&mut text, "  because: ", &cause.to_string());
        }
        if let Some(advice) = &self.advice {
            push(&mut text, "what to do: ", advice);
        }
        text
    }
}

/// Lines of one message: a finding in a configuration file shows the line of the file under it.
fn push(text: &mut String, head: &str, message: &str) {
    let mut head = head;
    for line in message.trim_end().lines() {
        let _ = writeln!(text, "{head}{}", printable(line));
        head = "  ";
    }
}

/// What is not classified otherwise failed.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn the_exit_codes_are_the_contract() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Conflict, 3),
            (Exit::Refused, 4),
            (Exit::Unknown, 5),
            (Exit::Configuration, 64),
            (Exit::Unreachable, 69),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn a_failure_prints_its_chain_and_its_advice() {
        let error = Err::<(), _>(anyhow!("no such host")).context("cannot read\x1b[31m").unwrap_err();
        let text = Failure::new(Exit::Failed, error).advise("look at the address").text();
        assert_eq!(
            text,
            "error: cannot read\u{fffd}[31m\n  because: no such host\nwhat to do: look at the address\n"
        );
    }
}
