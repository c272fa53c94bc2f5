//! Models made by hand and a server over them on a free port: what the tests of HTTP share. No Kafka.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use consumer_app::{
    predictions::readers::Readers,
    served::ServedModels,
    server,
    settings::{HttpSettings, StoreSettings},
};
use modelcast::{LiveModel, LoadedModel};
use modelcast_models::{GeneralizedLinearModel, Link, Model, PredictError};
use modelcast_protocol::{
    InstanceName, ModelName, Version,
    schema::{Categorical, Feature, FeatureKind, FeatureSchema, Numeric, Output, OutputKind},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A server that ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// A status, the JSON of a body, and the bytes behind it.
pub(crate) struct BinaryAnswer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    pub(crate) behind: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The text of an error in the protocol's form, and nothing else in the body.
    pub(crate) fn error(&self) -> String {
        let json = self.json();
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(1), "{}", self.text);
        json["error"].as_str().unwrap_or_else(|| panic!("{}", self.text)).to_owned()
    }
}

impl Server {
    pub(crate) fn start(models: impl IntoIterator<Item = LiveModel>) -> Self {
        Self::with(models, HttpSettings::default())
    }

    pub(crate) fn with(models: impl IntoIterator<Item = LiveModel>, http: HttpSettings) -> Self {
        Self::serving(ServedModels::new(InstanceName::parse("app-1").unwrap(), models), http)
    }

    /// Over live models and stored predictions.
    pub(crate) fn storing(models: impl IntoIterator<Item = LiveModel>, store: &StoreSettings) -> Self {
        let models = ServedModels::new(InstanceName::parse("app-1").unwrap(), models);
        let models = models.with_stored(Some(Readers::start(store).unwrap()));
        Self::serving(models, HttpSettings::default())
    }

    fn serving(models: ServedModels, http: HttpSettings) -> Self {
        let models = Arc::new(models);
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let stop = async { drop(stopped.await) };
                server::serve(listener, models, http, stop).await.unwrap();
            });
        });
        Self { address: is_bound.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        answer(agent().get(self.url(path)).call())
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        answer(agent().post(self.url(path)).send(body.as_ref()))
    }

    pub(crate) fn infer(&self, model: &str, inputs: &Value) -> Answer {
        self.post(&format!("/v2/models/{model}/infer"), json!({ "inputs": inputs }).to_string())
    }

    /// Sends a body of which `json_len` bytes are JSON, and takes its answer apart in the same way.
    pub(crate) fn post_binary(&self, path: &str, body: &[u8], json_len: usize) -> BinaryAnswer {
        let header = "inference-header-content-length";
        let sent = agent().post(self.url(path)).header(header, json_len.to_string()).send(body);
        let mut response = sent.unwrap();
        let bytes = response.body_mut().with_config().limit(100 << 20).read_to_vec().unwrap();
        let len = response.headers().get(header).map(|len| len.to_str().unwrap().parse::<usize>().unwrap());
        let (json, behind) = bytes.split_at(len.unwrap_or(bytes.len()));
        let json = serde_json::from_slice(json).unwrap();
        BinaryAnswer { status: response.status().as_u16(), json, behind: behind.to_vec() }
    }

    /// Lets the server shut down; [`ended`](Self::ended) waits for it.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn ended(mut self) -> Duration {
        let since = Instant::now();
        self.stop();
        self.thread.take().unwrap().join().unwrap();
        since.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub(crate) fn agent() -> ureq::Agent {
    let timeout = Some(Duration::from_secs(60));
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
}

pub(crate) fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = sent.unwrap();
    let status = response.status().as_u16();
    let text = response.body_mut().with_config().limit(100 << 20).read_to_string().unwrap();
    Answer { status, text }
}

/// A connection of its own, for requests that are not made whole.
pub(crate) fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads a stream of events as they come.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    pub(crate) fn open(server: &Server, path: &str) -> Self {
        let mut stream = connect(server);
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// The data of the next event; none at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

pub(crate) fn name(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn number(
    name: &str,
    title: &str,
    unit: Option<&str>,
    range: (f64, f64),
    typical: f64,
    whole: bool,
) -> Feature {
    let unit = unit.map(str::to_owned);
    let kind = FeatureKind::Numeric(Numeric { unit, range: Some(range), typical: Some(typical), whole });
    Feature { name: name.into(), title: Some(title.into()), kind }
}

fn choice(name: &str, title: &str, categories: &[&str], typical: &str, other: bool) -> Feature {
    let categories = categories.iter().map(|&category| category.into()).collect();
    let kind = FeatureKind::Categorical(Categorical { categories, other, typical: Some(typical.into()) });
    Feature { name: name.into(), title: Some(title.into()), kind }
}

/// The schema of house prices, shorter than the real one.
pub(crate) fn house_schema() -> FeatureSchema {
    let unit = Some("USD".to_owned());
    let kind = OutputKind::Numeric { unit };
    FeatureSchema {
        features: vec![
            number("area", "Living area", Some("ft²"), (334.0, 5642.0), 1442.0, true),
            number("lot", "Lot size", Some("ft²"), (1300.0, 215_245.0), 9436.0, false),
            number("built", "Year built", None, (1872.0, 2010.0), 1973.0, true),
            number("baths", "Full bathrooms", None, (0.0, 4.0), 2.0, true),
            choice("zone", "Neighbourhood", &["North_Ames", "Old_Town", "Stone_Brook"], "North_Ames", true),
            choice("heating", "Quality of the heating", &["Poor", "Fair", "Good"], "Good", false),
        ],
        outputs: vec![Output { name: "price".into(), title: Some("Estimated price".into()), kind }],
    }
}

/// House prices at a version: each version gives each row another price.
pub(crate) fn house(number: u64) -> LoadedModel {
    let weights = |feature: &str, weights: &[f64]| (feature.to_owned(), weights.to_vec());
    let model = GeneralizedLinearModel {
        link: Link::Exp,
        intercept: 0.7 + 0.01 * f64::from(u32::try_from(number).unwrap()),
        numeric: vec![
            ("area".into(), 3.1e-4),
            ("lot".into(), 2.2e-6),
            ("built".into(), 5.2e-3),
            ("baths".into(), 0.04),
        ],
        categorical: vec![
            weights("zone", &[0.0, -0.09, 0.21, 0.01]),
            weights("heating", &[-0.2, -0.08, 0.0]),
        ],
    };
    let schema = house_schema();
    let bound = model.bind(&Arc::new(schema.clone())).unwrap();
    LoadedModel::fixed(name("property-value"), version(number), schema, Box::new(bound)).unwrap()
}

/// A model of an application's own, over one number: it panics at 13, fails at 14, and else answers the number.
pub(crate) struct Superstitious;

impl Model for Superstitious {
    fn width(&self) -> usize {
        1
    }
    fn outputs(&self) -> usize {
        1
    }
    fn predict(&self, row: &[f64], outputs: &mut [f64]) -> Result<(), PredictError> {
        assert_ne!(row[0], 13.0, "a model that panics");
        if row[0] == 14.0 {
            return Err(PredictError::Other("no such floor".into()));
        }
        outputs[0] = row[0];
        Ok(())
    }
}

pub(crate) fn superstitious() -> LoadedModel {
    let kind = OutputKind::Numeric { unit: None };
    let schema = FeatureSchema {
        features: vec![number("floor", "Floor", None, (0.0, 99.0), 1.0, true)],
        outputs: vec![Output { name: "same".into(), title: None, kind }],
    };
    LoadedModel::fixed(name("lift"), version(1), schema, Box::new(Superstitious)).unwrap()
}

/// A classifier over two numbers.
pub(crate) fn tumour(number_of_version: u64) -> LoadedModel {
    let kind =
        OutputKind::Probability { positive: "malignant".into(), negative: "benign".into(), threshold: 0.5 };
    let schema = FeatureSchema {
        features: vec![
            number("radius", "Mean radius", Some("mm"), (6.9, 28.2), 13.4, false),
            number("texture", "Mean texture", None, (9.7, 39.3), 18.8, false),
        ],
        outputs: vec![Output { name: "malignant".into(), title: None, kind }],
    };
    let model = GeneralizedLinearModel {
        link: Link::Logit,
        intercept: -15.0,
        numeric: vec![("radius".into(), 0.8), ("texture".into(), 0.2)],
        categorical: vec![],
    };
    let bound = model.bind(&Arc::new(schema.clone())).unwrap();
    LoadedModel::fixed(name("tumour"), version(number_of_version), schema, Box::new(bound)).unwrap()
}

pub(crate) fn fixed(model: LoadedModel) -> LiveModel {
    LiveModel::fixed(model).unwrap()
}

/// One tensor of numbers.
pub(crate) fn fp64(name: &str, data: &[f64]) -> Value {
    json!({ "name": name, "shape": [data.len(), 1], "datatype": "FP64", "data": data })
}

/// One tensor of texts.
pub(crate) fn bytes(name: &str, data: &[&str]) -> Value {
    json!({ "name": name, "shape": [data.len(), 1], "datatype": "BYTES", "data": data })
}

/// A right request for `house`, of that many like rows.
pub(crate) fn house_inputs(rows: usize) -> Value {
    json!([
        fp64("area", &vec![1500.0; rows]),
        fp64("lot", &vec![9000.0; rows]),
        fp64("built", &vec![1990.0; rows]),
        fp64("baths", &vec![2.0; rows]),
        bytes("zone", &vec!["Old_Town"; rows]),
        bytes("heating", &vec!["Good"; rows]),
    ])
}

/// Waits until `look` gives something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
