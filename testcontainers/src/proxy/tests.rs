//! Each fault against a small server on a socket: it struck, open connections too, and ended when it was healed.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);
const METADATA: i16 = 3;

/// Answers each request with as many bytes as its body asks for, and tells which it got.
struct Server {
    address: String,
    requests: Receiver<(i16, i32)>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, sender) = (connection.unwrap(), sender.clone());
                thread::spawn(move || serve(connection, &sender));
            }
        });
        Self { address, requests }
    }

    fn got(&self) -> (i16, i32) {
        self.requests.recv_timeout(DEADLINE).unwrap()
    }
}

fn serve(mut connection: TcpStream, requests: &mpsc::Sender<(i16, i32)>) {
    let mut request = [0; 16];
    while connection.read_exact(&mut request).is_ok() {
        let number = |at: usize| i32::from_be_bytes(request[at..at + 4].try_into().unwrap());
        let api_key = i16::from_be_bytes([request[4], request[5]]);
        _ = requests.send((api_key, number(8)));
        if connection.write_all(&answer(number(8), number(12))).is_err() {
            return;
        }
    }
}

/// An answer with a body of so many bytes.
fn answer(correlation: i32, body_bytes: i32) -> Vec<u8> {
    let mut answer = (body_bytes + 4).to_be_bytes().to_vec();
    answer.extend(correlation.to_be_bytes());
    answer.resize(8 + usize::try_from(body_bytes).unwrap(), 7);
    answer
}

/// A request for a body of so many bytes.
fn request(api_key: i16, correlation: i32, body_bytes: i32) -> Vec<u8> {
    let version = 9_i16.to_be_bytes();
    [
        &12_i32.to_be_bytes()[..],
        &api_key.to_be_bytes(),
        &version,
        &correlation.to_be_bytes(),
        &body_bytes.to_be_bytes(),
    ]
    .concat()
}

struct Client(TcpStream);

impl Client {
    fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, api_key: i16, correlation: i32, body_bytes: i32) {
        self.0.write_all(&request(api_key, correlation, body_bytes)).unwrap();
    }

    fn must_get(&mut self, correlation: i32, body_bytes: i32) {
        let expected = answer(correlation, body_bytes);
        let mut found = vec![0; expected.len()];
        self.0.read_exact(&mut found).unwrap();
        assert!(found == expected, "another answer than {correlation}");
    }

    fn must_be_answered(&mut self, api_key: i16, correlation: i32) {
        self.send(api_key, correlation, 100);
        self.must_get(correlation, 100);
    }

    /// What comes until the connection is closed.
    fn until_closed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

fn start() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Proxy::start(server.address.clone()).unwrap();
    (server, proxy)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn without_faults_everything_passes_and_is_counted() {
    let (_server, proxy) = start();
    let mut clients = [Client::connect(&proxy), Client::connect(&proxy)];
    for client in &mut clients {
        client.must_be_answered(METADATA, 1);
        client.must_be_answered(PRODUCE, 2);
        client.send(FETCH, 3, 1_000_000);
        client.must_get(3, 1_000_000);
    }
    let counts = proxy.counts();
    assert_eq!(counts.requests, [(PRODUCE, 2), (FETCH, 2), (METADATA, 2)].into());
    assert_eq!((counts.produces(), counts.fetches()), (2, 2));
    assert_eq!((counts.connections, counts.open, counts.cut, counts.lost_acks), (2, 2, 0, 0));
    assert_eq!(counts.request_bytes, 2 * 3 * 16);
    assert_eq!(counts.response_bytes, 2 * (108 + 108 + 1_000_008));
    drop(clients);
    wait_until("the connections to end", || proxy.counts().open == 0);
    assert_eq!(proxy.counts().cut, 0);
}

#[test]
fn a_cut_closes_open_connections_and_no_later_ones() {
    let (_server, proxy) = start();
    let mut clients = [Client::connect(&proxy), Client::connect(&proxy)];
    clients.iter_mut().for_each(|client| client.must_be_answered(METADATA, 1));
    proxy.cut();
    for mut client in clients {
        assert_eq!(client.until_closed(), b"");
    }
    Client::connect(&proxy).must_be_answered(METADATA, 2);
    wait_until("the cuts to be counted", || proxy.counts().cut == 2);
}

#[test]
fn a_black_hole_takes_open_and_new_connections_and_lets_none_of_them_out() {
    let (server, proxy) = start();
    let (mut open, mut silent) = (Client::connect(&proxy), Client::connect(&proxy));
    open.must_be_answered(METADATA, 1);
    silent.must_be_answered(METADATA, 2);
    let before = proxy.counts();
    proxy.set(Faults { black_hole: true, ..Faults::default() });
    open.send(METADATA, 3, 100);
    let mut new = Client::connect(&proxy);
    new.send(METADATA, 4, 100);
    wait_until("the new connection to be accepted", || proxy.counts().connections == 3);
    // Far more than all buffers on the way hold: it is read, not left standing.
    new.0.set_write_timeout(Some(DEADLINE)).unwrap();
    new.0.write_all(&vec![0; 50_000_000]).unwrap();

    open.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let nothing = open.0.read(&mut [0; 1]).unwrap_err().kind();
    assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{nothing}");
    open.0.set_read_timeout(Some(DEADLINE)).unwrap();

    proxy.heal();
    assert_eq!(open.until_closed(), b"");
    assert_eq!(new.until_closed(), b"");
    silent.must_be_answered(METADATA, 5);
    Client::connect(&proxy).must_be_answered(METADATA, 6);
    let counts = proxy.counts();
    assert_eq!(counts.requests[&METADATA], before.requests[&METADATA] + 2);
    assert_eq!([1, 2, 5, 6], [(); 4].map(|()| server.got().1));
    assert!(server.requests.try_recv().is_err());
    wait_until("both to be counted", || proxy.counts().cut == 2);
}

#[test]
fn a_connection_is_cut_after_exactly_so_many_bytes_of_answers() {
    let (_server, proxy) = start();
    for limit in [0, 1, 7, 8, 9, 16_384, 16_385, 200_007, 200_008] {
        let mut open = Client::connect(&proxy);
        open.must_be_answered(METADATA, 1);
        proxy.set(Faults { cut_after_response_bytes: Some(limit), ..Faults::default() });
        let new = Client::connect(&proxy);
        for (mut client, which) in [(open, "open"), (new, "new")] {
            client.send(METADATA, 2, 200_000);
            let found = client.until_closed();
            let limit = usize::try_from(limit).unwrap();
            assert!(found == answer(2, 200_000)[..limit], "{which}, {limit}: {} bytes", found.len());
        }
        proxy.heal();
    }
    wait_until("all to be counted", || proxy.counts().cut == 2 * 9);
}

#[test]
fn a_lost_acknowledgement_is_one_that_the_broker_gave() {
    let (server, proxy) = start();
    let (mut first, mut second) = (Client::connect(&proxy), Client::connect(&proxy));
    for client in [&mut first, &mut second] {
        client.must_be_answered(PRODUCE, 10);
        assert_eq!(server.got(), (PRODUCE, 10));
    }
    proxy.set(Faults { lose_acks: LoseAcks::Next(1), ..Faults::default() });
    first.must_be_answered(FETCH, 11);
    assert_eq!(server.got(), (FETCH, 11));
    let both = [request(FETCH, 12, 50), request(PRODUCE, 13, 50)].concat();
    first.0.write_all(&both).unwrap();
    assert!(first.until_closed() == answer(12, 50), "what was answered before the loss arrives");
    assert_eq!([server.got(), server.got()], [(FETCH, 12), (PRODUCE, 13)]);
    second.must_be_answered(PRODUCE, 14);
    assert_eq!(proxy.counts().lost_acks, 1);

    proxy.set(Faults { lose_acks: LoseAcks::All, ..Faults::default() });
    for mut client in [second, Client::connect(&proxy), Client::connect(&proxy)] {
        client.send(PRODUCE, 15, 50);
        assert_eq!(client.until_closed(), b"");
    }
    assert_eq!(proxy.counts().lost_acks, 4);

    proxy.set(Faults { lose_acks: LoseAcks::After(1), ..Faults::default() });
    let mut last = Client::connect(&proxy);
    last.must_be_answered(PRODUCE, 16);
    last.send(PRODUCE, 17, 50);
    assert_eq!(last.until_closed(), b"");
    assert_eq!(proxy.counts().lost_acks, 5);
    proxy.heal();
    Client::connect(&proxy).must_be_answered(PRODUCE, 18);
    assert_eq!((proxy.counts().lost_acks, proxy.counts().produces()), (5, 10));
}

#[test]
fn what_begins_like_tls_passes_unread() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).unwrap();
    proxy.set(Faults { lose_acks: LoseAcks::All, ..Faults::default() });
    let mut client = Client::connect(&proxy);
    // Read as frames, these would be held back; and the answer to the second would be lost.
    let hello = [&[TLS, 3, 1][..], &request(PRODUCE, 1, 0)].concat();
    client.0.write_all(&hello).unwrap();
    let mut broker = listener.accept().unwrap().0;
    let mut found = vec![0; hello.len()];
    broker.read_exact(&mut found).unwrap();
    assert_eq!(found, hello);
    broker.write_all(&answer(1, 20)).unwrap();
    client.must_get(1, 20);
    broker.write_all(b"abc").unwrap();
    let mut short = [0; 3];
    client.0.read_exact(&mut short).unwrap();
    assert_eq!((short, proxy.counts().requests.len()), (*b"abc", 0));
}

const TLS: u8 = 0x16;

#[test]
fn a_delay_holds_each_way_and_does_not_throttle() {
    let (_server, proxy) = start();
    let mut client = Client::connect(&proxy);
    client.must_be_answered(METADATA, 1);
    let delay = Duration::from_millis(200);
    proxy.set(Faults { delay, ..Faults::default() });
    let sent = Instant::now();
    for correlation in 0..10 {
        client.send(METADATA, correlation, 100);
    }
    for correlation in 0..10 {
        client.must_get(correlation, 100);
    }
    assert!(sent.elapsed() >= 2 * delay, "after {:?}", sent.elapsed());
    assert!(sent.elapsed() < 10 * delay, "one after the other: {:?}", sent.elapsed());
}

#[test]
fn healing_ends_waiting_at_once() {
    let (_server, proxy) = start();
    for faults in [
        Faults { delay: Duration::from_secs(3600), ..Faults::default() },
        Faults { bytes_per_second: NonZeroU64::new(1), ..Faults::default() },
    ] {
        let mut client = Client::connect(&proxy);
        client.must_be_answered(METADATA, 1);
        let before = proxy.counts().response_bytes;
        proxy.set(faults);
        client.send(METADATA, 2, 1_000_000);
        client.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.0.read_exact(&mut [0; 100]).unwrap_err();
        assert!(proxy.counts().response_bytes - before < 100);
        client.0.set_read_timeout(Some(DEADLINE)).unwrap();
        proxy.heal();
        client.must_get(2, 1_000_000);
    }
}

#[test]
fn a_throttle_holds_each_connection_each_way() {
    let (_server, proxy) = start();
    let mut clients = [Client::connect(&proxy), Client::connect(&proxy)];
    clients.iter_mut().for_each(|client| client.must_be_answered(METADATA, 1));
    proxy.set(Faults { bytes_per_second: NonZeroU64::new(100_000), ..Faults::default() });
    let fetch = |clients: &mut [Client]| {
        let started = Instant::now();
        clients.iter_mut().for_each(|client| client.send(METADATA, 2, 80_000));
        clients.iter_mut().for_each(|client| client.must_get(2, 80_000));
        started.elapsed()
    };
    let alone = fetch(&mut clients[..1]);
    assert!(alone >= Duration::from_millis(600), "80 kB at 100 kB/s in {alone:?}");
    let together = fetch(&mut clients);
    assert!(together < alone * 8 / 5, "{alone:?} alone, {together:?} as one of two");

    // Requests of 16 bytes, and answers of half of that.
    let started = Instant::now();
    (0..10_000).for_each(|correlation| clients[0].send(METADATA, correlation, 0));
    (0..10_000).for_each(|correlation| clients[0].must_get(correlation, 0));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1_300), "160 kB of requests at 100 kB/s in {took:?}");
}

#[test]
fn a_client_that_does_not_read_fills_no_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().to_string()).unwrap();
    proxy.set(Faults { delay: Duration::from_secs(3600), ..Faults::default() });
    let _client = Client::connect(&proxy);
    let mut broker = listener.accept().unwrap().0;
    broker.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (piece, mut taken) = (vec![0; 65_536], 0);
    while let Ok(bytes) = broker.write(&piece) {
        taken += bytes;
        // What the system's own socket buffers take is a few MB.
        assert!(taken < 64_000_000, "all is taken");
    }
}

#[test]
fn a_proxy_outlives_its_broker_and_ends_inside_a_runtime() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone.to_string()).unwrap();
    assert_eq!(Client::connect(&proxy).until_closed(), b"");
    let port = proxy.port();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { drop(proxy) });
    wait_until("the port to be free", || TcpStream::connect(("127.0.0.1", port)).is_err());
}
