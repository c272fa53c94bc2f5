//! This machine as one for brokers: processes in a folder of their own, without a container.
//!
//! Does not look for Java or fetch jars (see `backend`). The folder's disk is everybody's, and is not filled.

use std::fs;
use std::path::Path;

use super::workplace::Workplace;
use super::{Machine, Needs};
use crate::error::Error;
use crate::java::Java;

/// Dropping it, or the end of this process, ends what runs on it and removes its folder.
pub(crate) struct Local {
    place: Workplace,
    java: String,
    class_path: String,
}

impl Local {
    /// Makes the folders of the nodes; nothing runs yet.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(crate) fn start(java: &Java, jars: &Path, needs: &Needs) -> Result<Self, Error> {
        Self::new(java.program.display().to_string(), format!("{}/*", jars.display()), needs)
    }

    /// The same for what is no Java program.
    ///
    /// # Errors
    /// [`Error::Folder`].
    pub(crate) fn without_java(needs: &Needs) -> Result<Self, Error> {
        Self::new(String::new(), String::new(), needs)
    }

    fn new(java: String, class_path: String, needs: &Needs) -> Result<Self, Error> {
        let place = Workplace::create().map_err(Error::Folder)?;
        for node in 1..=needs.nodes {
            for folder in ["node", "data"] {
                fs::create_dir(format!("{}/{folder}-{node}", place.path())).map_err(Error::Folder)?;
            }
        }
        Ok(Self { place, java, class_path })
    }
}

impl Machine for Local {
    fn name(&self) -> &str {
        self.place.path()
    }

    fn host(&self) -> &str {
        "127.0.0.1"
    }

    fn listens_on(&self) -> &'static str {
        "127.0.0.1"
    }

    fn folder(&self) -> &str {
        self.place.path()
    }

    fn java(&self) -> (&str, &str) {
        (&self.java, &self.class_path)
    }

    fn disks_are_small(&self) -> bool {
        false
    }

    fn run(&self, task: &'static str, script: &str, args: &[&str]) -> Result<String, Error> {
        let machine = || self.name().to_owned();
        self.place.run(script, args).map_err(|output| Error::Script { task, machine: machine(), output })
    }
}
