//! A container as a machine for brokers: an idle shell first, all else by exec.
//!
//! Does not choose the image (see `image`). The nodes are processes in it, so that one can be killed or frozen by a
//! real signal while its data, the ports and the other nodes stay; each keeps its data on a small disk of its own.
//!
//! # Invariants
//! * Nothing is published but on the loopback interface, unless `DOCKER_HOST` names another machine.
//! * All calls block and may be made on any thread, of an async runtime too: Docker is spoken to on a runtime of
//!   our own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt, TestcontainersError};

use super::{Machine, Needs};
use crate::blocking::on_runtime;
use crate::error::Error;
use crate::image::{self, ImageName};
use crate::owner::{self, Owner};
use crate::port::DockerHost;
use crate::watchdog::Watchdog;

const FOLDER: &str = "/tmp";
/// Where `apache/kafka` has its jars, and our image too.
const CLASS_PATH: &str = "/opt/kafka/libs/*";
/// Small enough to be filled up by a test, as it is memory; three times what the largest test keeps.
const DISK: &str = "size=1g,mode=1777";
/// The first process of a container inherits the nodes whose starter is gone, and has to collect what is left of
/// them: a shell does while it waits.
const IDLE: &str = "while :; do sleep 86400 & wait $!; done";
/// Ends what a script prints: Docker may tell an exit code later than the end of the output.
const EXIT: &str = "\nexit ";

/// Whatever image is named may be something else.
const LOOK_FOR_KAFKA: &str = "\
command -v java >/dev/null || { echo 'no java is on its PATH'; exit 1; }
ls /opt/kafka/libs/kafka_2*.jar >/dev/null 2>&1 || { echo 'no Kafka is in its /opt/kafka/libs'; exit 1; }";

/// A running container, removed when this is dropped or this process ends.
pub(crate) struct Container {
    /// `None` only while it is dropped.
    container: Option<ContainerAsync<GenericImage>>,
    watchdog: Option<Watchdog>,
    name: String,
    docker_host: DockerHost,
}

impl Container {
    /// Creates it; the nodes' folders are there, and nothing runs in it yet.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Watchdog`]: nothing was created. [`Error::Docker`], [`Error::Script`]: what was
    /// created is removed.
    pub(crate) fn start(needs: &Needs) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        owner::remove_orphans();
        let image = image::choose().map_err(|error| Error::Image(error.to_string()))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The time keeps apart what two containers' process namespaces number alike.
        let age = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let name = format!("modelcast-kafka-{}-{number}-{age:x}", std::process::id());
        let watchdog = Watchdog::start(&name).map_err(Error::Watchdog)?;
        let docker_host = DockerHost::from_environment();
        let request = request(&image, &docker_host, needs, &name);
        // An early return drops the watchdog, which removes what Docker may have created all the same.
        let container =
            on_runtime(request.start()).map_err(|source| docker_error("start a shell", &name, source))?;
        let this = Self { container: Some(container), watchdog: Some(watchdog), name, docker_host };
        this.run("look for Kafka", LOOK_FOR_KAFKA, &[]).map_err(|error| not_a_kafka(&image, error))?;
        let folders: Vec<_> = (1..=needs.nodes).map(|node| format!("{FOLDER}/node-{node}")).collect();
        let folders: Vec<_> = folders.iter().map(String::as_str).collect();
        this.run("make folders", r#"mkdir "$@""#, &folders)?;
        Ok(this)
    }

    fn exec(&self, command: Vec<String>) -> Result<(String, String), TestcontainersError> {
        let container = self.container.as_ref().expect("it is taken only by drop");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        on_runtime(async {
            let mut result = container.exec(ExecCommand::new(command)).await?;
            Ok((text(result.stdout_to_vec().await?), text(result.stderr_to_vec().await?)))
        })
    }
}

impl Machine for Container {
    fn name(&self) -> &str {
        &self.name
    }

    fn host(&self) -> &str {
        self.docker_host.name()
    }

    fn listens_on(&self) -> &'static str {
        "0.0.0.0"
    }

    fn folder(&self) -> &str {
        FOLDER
    }

    fn java(&self) -> (&str, &str) {
        ("java", CLASS_PATH)
    }

    fn disks_are_small(&self) -> bool {
        true
    }

    fn run(&self, task: &'static str, script: &str, args: &[&str]) -> Result<String, Error> {
        let script = format!("(\n{script}\n)\nprintf '\\nexit %s' $?");
        let command = ["sh", "-c", &script, "sh"].iter().chain(args).map(|&word| word.to_owned()).collect();
        let (output, errors) = self.exec(command).map_err(|source| docker_error(task, &self.name, source))?;
        match output.rsplit_once(EXIT) {
            Some((output, "0")) => Ok(output.to_owned()),
            _ => Err(Error::Script { task, machine: self.name.clone(), output: errors + &output }),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        let removed = on_runtime(container.rm());
        // A watchdog that is not dismissed removes the container itself as it is dropped.
        if let (Ok(()), Some(watchdog)) = (removed, self.watchdog.take()) {
            watchdog.dismiss();
        }
    }
}

fn request(
    image: &ImageName,
    docker_host: &DockerHost,
    needs: &Needs,
    name: &str,
) -> ContainerRequest<GenericImage> {
    let mut request = GenericImage::new(&image.repository, &image.tag)
        .with_entrypoint("sh")
        .with_cmd(["-c", IDLE])
        .with_container_name(name);
    for &port in &needs.ports {
        request = request.with_mapped_port(port, port.tcp());
    }
    if let Some(owner) = Owner::this_process() {
        request = request.with_label(owner::LABEL, owner.to_string());
    }
    let disks: HashMap<_, _> =
        (1..=needs.nodes).map(|node| (format!("{FOLDER}/data-{node}"), DISK.to_owned())).collect();
    let is_local = *docker_host == DockerHost::Local;
    request.with_host_config_modifier(move |config| {
        config.tmpfs = Some(disks.clone());
        let ports = config.port_bindings.iter_mut().flat_map(|bindings| bindings.values_mut());
        for binding in ports.flatten().flatten().filter(|_| is_local) {
            binding.host_ip = Some("127.0.0.1".to_owned());
        }
    })
}

fn not_a_kafka(image: &ImageName, error: Error) -> Error {
    let Error::Script { output, .. } = error else { return error };
    let ImageName { repository, tag } = image;
    let lack = output.lines().next().unwrap_or_default();
    Error::Image(format!(
        "image {repository}:{tag} is not laid out like apache/kafka: {lack}; name another in MODELCAST_KAFKA_IMAGE"
    ))
}

fn docker_error(task: &'static str, container: &str, source: TestcontainersError) -> Error {
    Error::Docker { task, container: container.to_owned(), source: Box::new(source) }
}
