//! How `trainer` ends: its exit codes, and errors with the code that belongs to them.
//!
//! The codes are a contract with scripts; `trainer --help` lists them.

use std::{error::Error, process::ExitCode};

use modelcast::{KafkaError, PublishError, publish::Class, settings::SettingsError};
use trainer::{
    configuration::ConfigurationError, cycle::CycleError, fit::FitError, folder::FolderError,
    prepare::PrepareError, split::SplitError, train::TrainError,
};

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Failed, or the fleet did not get there.
    Failed,
    /// Wrong usage.
    Usage,
    /// Somebody else announced first.
    Conflict,
    /// A gate or a rule said no.
    Refused,
    /// It is not known whether the announcement took force.
    Unknown,
    /// The configuration is wrong.
    Configuration,
    /// Kafka cannot be reached.
    Unreachable,
}

/// An error and the code to end with.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0_u8,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Conflict => 3,
            Exit::Refused => 4,
            Exit::Unknown => 5,
            Exit::Configuration => 64,
            Exit::Unreachable => 69,
        })
    }
}

impl Failure {
    /// An error with its code.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// The code to end with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The text for stderr: the error, then its causes one a line. What to do stands in the messages themselves.
    pub(crate) fn text(&self) -> String {
        let mut lines = Vec::new();
        for (place, cause) in self.error.chain().enumerate() {
            let head = if place == 0 { "error: " } else { "  because: " };
            lines.push(format!("{head}{}\n", printable(cause.to_string().trim_end())));
        }
        lines.concat()
    }
}

/// Names and values from outside may hold control characters, which would steer the terminal.
fn printable(text: &str) -> String {
    let replace = |letter: char| {
        if letter.is_control() && letter != '\n' { char::REPLACEMENT_CHARACTER } else { letter }
    };
    text.chars().map(replace).collect()
}

impl From<CycleError> for Failure {
    fn from(error: CycleError) -> Self {
        let exit = match &error {
            CycleError::Train(TrainError::Fit(FitError::NotConverged { .. })) => Exit::Refused,
            CycleError::Prepare(PrepareError::Split(
                SplitError::Until { .. } | SplitError::NoTime { .. },
            )) => Exit::Usage,
            CycleError::OtherModel { .. } | CycleError::OtherData { .. } | CycleError::Package(_) => {
                Exit::Refused
            }
            CycleError::Kafka(error) => of_kafka(error),
            CycleError::Publish(error) => of_publish(error),
            CycleError::Prepare(_)
            | CycleError::Train(_)
            | CycleError::Foreign(_)
            | CycleError::Folder(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<ConfigurationError> for Failure {
    fn from(error: ConfigurationError) -> Self {
        let exit = match &error {
            ConfigurationError::NoDataset { .. } => Exit::Usage,
            ConfigurationError::Settings(_) | ConfigurationError::Value { .. } => Exit::Configuration,
        };
        Self::new(exit, error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Configuration, error)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        CycleError::from(error).into()
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        CycleError::from(error).into()
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        CycleError::from(error).into()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

fn of_kafka(error: &KafkaError) -> Exit {
    match error {
        KafkaError::Unreachable { .. } => Exit::Unreachable,
        KafkaError::Property { .. } => Exit::Configuration,
        KafkaError::MissingTopic { .. }
        | KafkaError::WrongTopic { .. }
        | KafkaError::NotGranted { .. }
        | KafkaError::Unsupported { .. }
        | KafkaError::Refused { .. }
        | KafkaError::OffsetGone { .. }
        | KafkaError::Transient { .. } => Exit::Failed,
    }
}

fn of_publish(error: &PublishError) -> Exit {
    // Wherever it happened: Kafka that cannot be reached is 69.
    let causes = std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    let kafka = causes.filter_map(|cause| cause.downcast_ref::<KafkaError>()).map(of_kafka);
    match error.class() {
        Class::Conflict => Exit::Conflict,
        Class::Refused => Exit::Refused,
        Class::Unknown => Exit::Unknown,
        Class::Unavailable | Class::Failed => match error {
            PublishError::Kafka(error) => of_kafka(error),
            _ => kafka.last().unwrap_or(Exit::Failed),
        },
    }
}
