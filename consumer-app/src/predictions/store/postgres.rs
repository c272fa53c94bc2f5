//! PostgreSQL: rows by binary COPY, TLS by the URL's `sslmode`, and errors without a password in them.
//!
//! Each statement is one message there and one back: values travel with their types, nothing is prepared.
//!
//! # Invariants
//! * A server that is offered TLS proves who it is, or there is no connection: nobody's word is taken for it.
//! * A statement ends after the timeout, and so does connecting.

use std::{
    error::Error as _,
    fs::File,
    io::{BufReader, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
    error::SqlState,
    types::{IsNull, ToSql, Type, private::BytesMut},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    database::{Database, Inserted, Purpose, Row, Value},
    error::StoreError,
};
use crate::predictions::run::PredictionRow;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows are sent in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
const COPY: &str = "COPY predictions (run_number, key, output, value) FROM STDIN BINARY";

pub(super) struct Postgres {
    client: Client,
    place: String,
    seconds: u64,
}

impl Postgres {
    /// Connects. `ca` is a PEM file in place of the system's authorities.
    pub(super) fn open(
        url: &str,
        password: Option<&str>,
        ca: Option<&Path>,
        seconds: u64,
    ) -> Result<Self, StoreError> {
        let mut config = configured(url)?;
        if let Some(password) = password {
            config.password(password);
        }
        config.connect_timeout(CONNECT_TIMEOUT);
        config.application_name("modelcast");
        let place = place(&config);
        let connected = match config.get_ssl_mode() {
            SslMode::Disable => config.connect(NoTls),
            _ => config.connect(MakeRustlsConnect::new(tls(ca, &place)?)),
        };
        let mut client = connected.map_err(|error| unreachable(&place, &error))?;
        let session = format!(
            "SET statement_timeout = '{seconds}s'; SET lock_timeout = '{seconds}s'; \
             SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning"
        );
        client.batch_execute(&session).map_err(|error| unreachable(&place, &error))?;
        Ok(Self { client, place, seconds })
    }

    fn failed(&self, error: &postgres::Error) -> StoreError {
        let place = self.place.clone();
        match error.code() {
            Some(&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE) => {
                StoreError::Slow { place, seconds: self.seconds }
            }
            Some(
                &SqlState::ADMIN_SHUTDOWN
                | &SqlState::CRASH_SHUTDOWN
                | &SqlState::CANNOT_CONNECT_NOW
                | &SqlState::DISK_FULL
                | &SqlState::READ_ONLY_SQL_TRANSACTION
                | &SqlState::T_R_DEADLOCK_DETECTED
                | &SqlState::T_R_SERIALIZATION_FAILURE,
            ) => unreachable(&place, error),
            None if self.client.is_closed() || error.is_closed() => unreachable(&place, error),
            _ => StoreError::Database { place, cause: words(error) },
        }
    }

    fn run(&mut self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).map_err(|error| self.failed(&error))
    }

    /// The inner result is that of the network; what the server says comes at the end.
    fn copy(&mut self, number: i64, rows: &[&PredictionRow]) -> Result<std::io::Result<()>, postgres::Error> {
        let mut writer = self.client.copy_in(COPY)?;
        let written = write_rows(&mut writer, number, rows);
        writer.finish().map(|_| written)
    }
}

impl Database for Postgres {
    fn place(&self) -> &str {
        &self.place
    }

    fn has_tables(&mut self) -> Result<bool, StoreError> {
        let rows = self.query("SELECT to_regclass('prediction_tables')::text", &[])?;
        Ok(rows.into_iter().next().is_some_and(|mut row| matches!(row.maybe_text("name"), Ok(Some(_)))))
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let sql = sql.replace('?', "$");
        self.client.execute_typed(&sql, &typed(values)).map_err(|error| self.failed(&error))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let sql = sql.replace('?', "$");
        let rows = self.client.query_typed(&sql, &typed(values)).map_err(|error| self.failed(&error))?;
        rows.iter()
            .map(|row| {
                (0..row.len()).map(|column| value(row, column)).collect::<Result<_, _>>().map(Row::new)
            })
            .collect::<Result<_, _>>()
            .map_err(|error| self.failed(&error))
    }

    fn begin(&mut self, purpose: Purpose) -> Result<(), StoreError> {
        self.run(match purpose {
            Purpose::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Purpose::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        })
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.run("COMMIT")
    }

    fn roll_back(&mut self) {
        // A connection that cannot do even that is closed, and is not used again.
        drop(self.run("ROLLBACK"));
    }

    fn insert(&mut self, number: i64, rows: &[&PredictionRow]) -> Result<Inserted, StoreError> {
        self.run("SAVEPOINT bulk")?;
        match self.copy(number, rows) {
            Ok(Ok(())) => self.run("RELEASE SAVEPOINT bulk").map(|()| Inserted::All),
            Ok(Err(error)) => {
                Err(StoreError::Unreachable { place: self.place.clone(), cause: error.to_string() })
            }
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                self.run("ROLLBACK TO SAVEPOINT bulk; RELEASE SAVEPOINT bulk").map(|()| Inserted::None)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn dialect(&self, definition: &str) -> String {
        let words = [
            ("SERIAL", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
            ("WHOLE", "BIGINT"),
            ("NUMBER", "DOUBLE PRECISION"),
            ("TEXT", "TEXT COLLATE \"C\""),
            (" CLUSTERED", ""),
            (" PLAIN", ""),
        ];
        words.iter().fold(definition.to_owned(), |text, (word, ours)| text.replace(word, ours))
    }

    fn lock(&self) -> &'static str {
        " FOR UPDATE"
    }

    fn is_usable(&self) -> bool {
        !self.client.is_closed()
    }
}

/// Rows in the binary form of COPY, in a few large pieces: a write for each row takes nearly twice as long.
/// <https://www.postgresql.org/docs/current/sql-copy.html>
fn write_rows(to: &mut impl Write, number: i64, rows: &[&PredictionRow]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(2 * PIECE_BYTES);
    bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
    bytes.extend_from_slice(&[0; 8]); // no flags, and no more of the header
    for row in rows {
        // A key is shorter than 512 bytes, so that each length is a small number.
        let length = u32::try_from(row.key.len()).map_err(std::io::Error::other)?;
        for (output, value) in (0_i64..).zip(&row.values) {
            bytes.extend_from_slice(&4_i16.to_be_bytes());
            bytes.extend_from_slice(&8_u32.to_be_bytes());
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(row.key.as_bytes());
            bytes.extend_from_slice(&8_u32.to_be_bytes());
            bytes.extend_from_slice(&output.to_be_bytes());
            bytes.extend_from_slice(&8_u32.to_be_bytes());
            bytes.extend_from_slice(&(value + 0.0).to_be_bytes()); // no sign of zero, see `sqlite`
        }
        if bytes.len() >= PIECE_BYTES {
            to.write_all(&bytes)?;
            bytes.clear();
        }
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    to.write_all(&bytes)
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Whole(whole) => whole.to_sql(kind, out),
            Self::Number(number) => number.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true // each value says its own type
    }

    postgres::types::to_sql_checked!();
}

fn typed(values: &[Value]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    let kind = |value: &Value| match value {
        Value::Null => Type::UNKNOWN,
        Value::Whole(_) => Type::INT8,
        Value::Number(_) => Type::FLOAT8,
        Value::Text(_) => Type::TEXT,
    };
    values.iter().map(|value| (value as &(dyn ToSql + Sync), kind(value))).collect()
}

fn value(row: &postgres::Row, column: usize) -> Result<Value, postgres::Error> {
    let kind = row.columns().get(column).map(postgres::Column::type_);
    Ok(match kind {
        Some(&Type::INT8) => row.try_get::<_, Option<i64>>(column)?.map_or(Value::Null, Value::Whole),
        Some(&Type::FLOAT8) => row.try_get::<_, Option<f64>>(column)?.map_or(Value::Null, Value::Number),
        _ => row.try_get::<_, Option<String>>(column)?.map_or(Value::Null, Value::Text),
    })
}

fn configured(url: &str) -> Result<Config, StoreError> {
    // libpq's words for what is always done here.
    let known =
        url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
    let config: Config = known.parse().map_err(|_| StoreError::Address {
        cause: "it is not postgresql://USER@HOST:PORT/DATABASE?sslmode=require".to_owned(),
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(StoreError::Address { cause: "the URL names no host".to_owned() });
    }
    Ok(config)
}

/// Host, port and database of a URL, for people.
pub(super) fn place_of(url: &str) -> Result<String, StoreError> {
    Ok(place(&configured(url)?))
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(folder)) => folder.display().to_string(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("PostgreSQL {host}:{port}/{database}")
}

fn tls(ca: Option<&Path>, place: &str) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let wrong = |cause: String| StoreError::Address {
                cause: format!("predictions.ca {}: {cause}", file.display()),
            };
            let certificates = certificates(file).map_err(wrong)?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
        None => {
            // Some of a system's certificates may be unusable; those that are left decide.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Database { place: place.to_owned(), cause: error.to_string() })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    use rustls::pki_types::pem::PemObject as _;
    let reader = BufReader::new(File::open(file).map_err(|error| error.to_string())?);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(reader).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("holds no certificate".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

fn unreachable(place: &str, error: &postgres::Error) -> StoreError {
    StoreError::Unreachable { place: place.to_owned(), cause: words(error) }
}

/// What the server said, or the chain of causes; the crate's own text alone says little.
fn words(error: &postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        return server.message().to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
