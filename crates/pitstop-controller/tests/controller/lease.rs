//! Holding the lease and standing by, against a server that keeps one lease as a real one does. Time is virtual.
//! Source: reliability.md F1, F2, F9, F10.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use pitstop_api::{Clock, SharedClock};
use pitstop_controller::api::{Api, Call, CallError, Gate, Lines, Permission, Resource, Verb};
use pitstop_controller::metrics::Metrics;
use pitstop_controller::{Config, Controller, Error, Manager, Phase, Replica};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::loops::get;
use crate::scripted::{clock, refused};

/// What happens to a request on its way.
#[derive(Clone)]
enum Fault {
    /// It is refused before anything happens.
    Refused(CallError),
    /// It is carried out, but the answer is lost.
    AnswerLost,
    /// Nothing happens, and nobody says so.
    Silence,
}

type Faults = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// One API server: a lease, empty lists, and a record of what was written, by whom and when.
struct Server {
    lease: Mutex<Option<Value>>,
    version: Mutex<u64>,
    writes: Mutex<Vec<(Instant, &'static str, Call)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Server {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lease: Mutex::default(),
            version: Mutex::new(10),
            writes: Mutex::default(),
        })
    }

    /// With somebody else's lease on it.
    fn held_by(holder: &str, renewed_at: &str) -> Arc<Self> {
        let server = Self::new();
        let spec = json!({
            "holderIdentity": holder, "leaseDurationSeconds": 12, "renewTime": renewed_at, "leaseTransitions": 4,
        });
        *server.lease.lock().unwrap() = Some(json!({ "metadata": { "resourceVersion": "1" }, "spec": spec }));
        server
    }

    fn lease(&self) -> Value {
        locked(&self.lease).clone().unwrap()
    }

    fn holder(&self) -> Value {
        self.lease()["spec"]["holderIdentity"].clone()
    }

    /// When `who` wrote the lease.
    fn lease_writes(&self, who: &str) -> Vec<Instant> {
        let writes = locked(&self.writes);
        let of = writes
            .iter()
            .filter(|(_, by, call)| *by == who && call.resource == Resource::Leases);
        of.map(|(at, _, _)| *at).collect()
    }

    fn next_version(&self) -> Value {
        let mut version = locked(&self.version);
        *version += 1;
        json!(version.to_string())
    }

    /// Somebody writes this, whatever it is.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let version = self.next_version();
        let mut lease = locked(&self.lease);
        let lease = lease.as_mut().unwrap();
        change(lease);
        lease["metadata"]["resourceVersion"] = version;
    }

    fn carry_out(&self, who: &'static str, call: &Call) -> Result<Value, CallError> {
        if call.verb.is_write() {
            let mut writes = locked(&self.writes);
            writes.push((Instant::now(), who, call.clone()));
        }
        let is_ours = call.name.as_deref() == Some("pitstop-controller");
        match (call.verb, call.resource) {
            (Verb::List, _) => Ok(json!({ "metadata": { "resourceVersion": "10" }, "items": [] })),
            (Verb::Get, Resource::Leases) if is_ours => {
                let lease = locked(&self.lease).clone();
                lease.ok_or_else(|| refused(404, "NotFound", "no lease"))
            }
            (Verb::Create, Resource::Leases) => self.create(call),
            (Verb::MergePatch, Resource::Leases) => self.patch(call),
            _ => Err(refused(404, "NotFound", "nothing here")),
        }
    }

    fn create(&self, call: &Call) -> Result<Value, CallError> {
        let version = self.next_version();
        let mut lease = locked(&self.lease);
        if lease.is_some() {
            return Err(refused(409, "AlreadyExists", "it is there"));
        }
        let mut made = call.body.clone().unwrap();
        made["metadata"]["resourceVersion"] = version;
        *lease = Some(made.clone());
        Ok(made)
    }

    /// A patch of another version is refused; one that changes nothing makes no new version.
    fn patch(&self, call: &Call) -> Result<Value, CallError> {
        let body = call.body.as_ref().unwrap();
        let version = self.next_version();
        let mut lease = locked(&self.lease);
        let Some(lease) = lease.as_mut() else {
            return Err(refused(404, "NotFound", "no lease"));
        };
        if lease["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
            return Err(refused(409, "Conflict", "the object has been modified"));
        }
        let before = lease.clone();
        for (key, value) in body["spec"].as_object().unwrap() {
            lease["spec"][key] = value.clone();
        }
        if *lease != before {
            lease["metadata"]["resourceVersion"] = version;
        }
        Ok(lease.clone())
    }
}

/// The way of one process to the server.
struct Link {
    who: &'static str,
    server: Arc<Server>,
    faults: Mutex<Faults>,
}

impl Link {
    fn new(server: &Arc<Server>, who: &'static str) -> Arc<Self> {
        Self::with_faults(server, who, |_| None)
    }

    fn with_faults(
        server: &Arc<Server>,
        who: &'static str,
        faults: impl FnMut(&Call) -> Option<Fault> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            who,
            server: Arc::clone(server),
            faults: Mutex::new(Box::new(faults)),
        })
    }

    /// One that is cut, from `from` on, for `how_long`.
    fn cut(server: &Arc<Server>, who: &'static str, from: Duration, how_long: Duration) -> Arc<Self> {
        let from = Instant::now() + from;
        Self::with_faults(server, who, move |_| {
            let now = Instant::now();
            let is_cut = now >= from && now < from + how_long;
            is_cut.then(|| Fault::Refused(CallError::Unreachable("connection refused".into())))
        })
    }
}

impl Api for Link {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            // A request takes its time.
            sleep(Duration::from_millis(10)).await;
            let fault = (self.faults.lock().unwrap())(&call);
            match fault {
                None => {}
                Some(Fault::Refused(error)) => return Err(error),
                Some(Fault::Silence) => return std::future::pending().await,
                Some(Fault::AnswerLost) => {
                    let _ = self.server.carry_out(self.who, &call);
                    return Err(CallError::Unreachable("connection reset".into()));
                }
            }
            let answer = self.server.carry_out(self.who, &call)?;
            Ok(Bytes::from(answer.to_string()))
        })
    }

    fn watch(&self, _: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(async { Ok(stream::pending().boxed()) })
    }
}

fn config(identity: &str) -> Config {
    let mut config = Config::new(clock(), identity, 1);
    config.controllers.remove(&Controller::NativeDaemonSet);
    config
}

async fn replica(link: &Arc<Link>) -> Replica {
    let api = Arc::clone(link) as Arc<dyn Api>;
    Replica::start_on(api, config(link.who)).await.unwrap()
}

/// A replica that has reached its first phase, which is this.
async fn replica_that(link: &Arc<Link>, is_expected: impl Fn(&Phase) -> bool) -> Replica {
    let mut replica = replica(link).await;
    let phase = replica.next().await.unwrap();
    assert!(is_expected(&phase), "{phase:?}");
    replica
}

fn waits(phase: &Phase) -> bool {
    matches!(phase, Phase::Waiting(_))
}

fn leads(phase: &Phase) -> bool {
    *phase == Phase::Leading
}

/// Nothing is told for so long.
async fn goes_on(replica: &mut Replica, how_long: Duration) {
    let told = timeout(how_long, replica.next()).await;
    assert!(told.is_err(), "{told:?}");
}

fn is_held(replica: &Replica) -> bool {
    let text = replica.manager().unwrap().metrics().text();
    text.lines().any(|line| line == "pitstop_lease_held 1")
}

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_taken_renewed_every_2_s_and_given_back() {
    let server = Server::new();
    let api = Link::new(&server, "a");
    let mut manager = Manager::start_on(api, config("a")).await.unwrap();
    assert!(timeout(s(20), manager.wait()).await.is_err());
    assert!(manager.is_ready());
    let writes = server.lease_writes("a");
    assert_eq!(writes.len(), 10, "the first and 9 renewals");
    let lease = server.lease();
    assert_eq!(lease["spec"]["holderIdentity"], "a");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 12);
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    assert_eq!(lease["spec"]["acquireTime"], "2026-01-01T00:00:00.000000Z");
    manager.shutdown().await;
    assert_eq!(server.holder(), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn each_renewal_makes_a_new_version_even_if_the_clock_stands_still() {
    let server = Server::new();
    let mut manager = Manager::start_on(Link::new(&server, "a"), config("a"))
        .await
        .unwrap();
    let mut versions = Vec::new();
    for _ in 0..5 {
        versions.push(server.lease()["metadata"]["resourceVersion"].clone());
        assert!(
            timeout(Duration::from_millis(2_050), manager.wait())
                .await
                .is_err()
        );
    }
    versions.dedup();
    assert_eq!(versions.len(), 5, "{versions:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_wait_is_told_who_holds_the_lease() {
    let server = Server::held_by("other", "2025-12-31T23:59:58.000000Z");
    let begun_at = Instant::now();
    let error = Manager::start_on(Link::new(&server, "a"), config("a"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "another pitstop controller is at work: \"other\" holds the lease kube-system/pitstop-controller and renewed \
         it at 2025-12-31T23:59:58Z; stop it, or wait until its lease runs out at 2026-01-01T00:00:10Z"
    );
    assert!(begun_at.elapsed() < s(1));
    assert_eq!(server.lease_writes("a"), []);
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_clock_is_an_hour_behind_is_found_alive() {
    let server = Server::held_by("other", "2025-12-31T22:59:58.000000Z");
    let other = Arc::clone(&server);
    tokio::spawn(async move {
        loop {
            sleep(s(2)).await;
            other.edit(|lease| lease["spec"]["renewTime"] = json!("2025-12-31T23:00:00.000000Z"));
        }
    });
    let started = Manager::start_on(Link::new(&server, "a"), config("a")).await;
    assert!(matches!(started, Err(Error::LeaseHeld { .. })));
    assert_eq!(server.lease_writes("a"), []);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_gone_is_succeeded_after_its_12_s_and_not_before() {
    let server = Server::held_by("other", "2025-12-30T00:00:00.000000Z");
    let begun_at = Instant::now();
    let manager = Manager::start_on(Link::new(&server, "a"), config("a"))
        .await
        .unwrap();
    let took = begun_at.elapsed();
    assert!((s(12)..s(13)).contains(&took), "{took:?}");
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 5);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_comes_back_takes_over_at_once_in_a_new_term() {
    let server = Server::held_by("a", "2025-12-31T23:59:58.000000Z");
    let begun_at = Instant::now();
    let manager = Manager::start_on(Link::new(&server, "a"), config("a"))
        .await
        .unwrap();
    assert!(begun_at.elapsed() < s(1));
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 5);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_within_15_s_when_the_leader_crashes() {
    let server = Server::new();
    let leader = replica_that(&Link::new(&server, "a"), leads).await;
    let mut standby = replica_that(&Link::new(&server, "b"), waits).await;
    goes_on(&mut standby, Duration::from_millis(21_999)).await;
    drop(leader);
    let crashed_at = Instant::now();
    assert_eq!(standby.next().await.unwrap(), Phase::Leading);
    let took = crashed_at.elapsed();
    assert!(took < s(14), "{took:?}");
    let last = *server.lease_writes("a").last().unwrap();
    let taken = server.lease_writes("b")[0];
    assert!(taken - last >= s(12), "{:?}", taken - last);
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_within_2_s_when_the_leader_stops() {
    let server = Server::new();
    let leader = replica_that(&Link::new(&server, "a"), leads).await;
    let mut standby = replica_that(&Link::new(&server, "b"), waits).await;
    goes_on(&mut standby, s(21)).await;
    let told_at = Instant::now();
    let (phase, ()) = tokio::join!(standby.next(), leader.shutdown());
    assert_eq!(phase.unwrap(), Phase::Leading);
    let took = told_at.elapsed();
    assert!(took < Duration::from_millis(1_200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_standby_stops_at_once_and_writes_nothing() {
    let server = Server::new();
    let _leader = replica_that(&Link::new(&server, "a"), leads).await;
    let standby = replica_that(&Link::new(&server, "b"), waits).await;
    let told_at = Instant::now();
    standby.shutdown().await;
    assert!(told_at.elapsed() < s(1));
    assert_eq!(server.lease_writes("b"), []);
    // Nor does one that gets no answer keep anybody waiting.
    let link = Link::with_faults(&server, "c", |_| Some(Fault::Silence));
    let standby = replica(&link).await;
    let told_at = Instant::now();
    standby.shutdown().await;
    assert!(told_at.elapsed() <= s(2));
}

#[tokio::test(start_paused = true)]
async fn one_failed_renewal_changes_nothing() {
    let busy = |seconds: u32| {
        let body = json!({ "reason": "TooManyRequests", "details": { "retryAfterSeconds": seconds } });
        Fault::Refused(CallError::from_answer(429, body.to_string().as_bytes()))
    };
    for (case, fault) in [
        ("the answer is lost (F2)", Fault::AnswerLost),
        (
            "refused (F1)",
            Fault::Refused(refused(500, "InternalError", "etcd has no leader")),
        ),
        ("429, Retry-After 1", busy(1)),
        ("429, Retry-After 120", busy(120)),
        ("conflict", Fault::Refused(refused(409, "Conflict", "modified"))),
        ("no answer", Fault::Silence),
    ] {
        let server = Server::new();
        let mut n_renewals = 0;
        let link = Link::with_faults(&server, "a", move |call| {
            let is_renewal = call.verb == Verb::MergePatch && call.resource == Resource::Leases;
            n_renewals += usize::from(is_renewal);
            (is_renewal && n_renewals == 3).then(|| fault.clone())
        });
        let mut leader = replica_that(&link, leads).await;
        let mut standby = replica_that(&Link::new(&server, "b"), waits).await;
        for _ in 0..80 {
            goes_on(&mut leader, Duration::from_millis(250)).await;
            assert!(is_held(&leader), "{case}");
            assert!(standby.next().now_or_never().is_none(), "{case}");
        }
        assert_eq!(server.lease()["spec"]["leaseTransitions"], 0, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_by_somebody_else_does_not_end_a_term() {
    let server = Server::new();
    let mut leader = replica_that(&Link::new(&server, "a"), leads).await;
    for _ in 0..8 {
        goes_on(&mut leader, Duration::from_millis(1_700)).await;
        server.edit(|lease| lease["metadata"]["annotations"]["seen"] = json!("yes"));
        assert!(is_held(&leader));
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_for_6_s_is_not_noticed() {
    for phase in 0..20 {
        let server = Server::new();
        let link = Link::cut(&server, "a", Duration::from_millis(10_000 + 100 * phase), s(6));
        let mut leader = replica_that(&link, leads).await;
        for _ in 0..100 {
            goes_on(&mut leader, Duration::from_millis(250)).await;
            assert!(is_held(&leader));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_for_20_s_stops_all_writes_and_the_term_goes_on() {
    let server = Server::new();
    let mut leader = replica_that(&Link::cut(&server, "a", s(10), s(20)), leads).await;
    goes_on(&mut leader, s(16)).await;
    assert!(is_held(&leader));
    // The last renewal was begun 8 s to 10 s after the start.
    goes_on(&mut leader, s(3)).await;
    assert!(!is_held(&leader));
    goes_on(&mut leader, s(13)).await;
    assert!(is_held(&leader), "nobody else has taken the lease");
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_is_silent_before_another_one_leads_and_then_stands_by_afresh() {
    let server = Server::new();
    let mut old = replica_that(&Link::cut(&server, "a", s(10), s(30)), leads).await;
    let mut new = replica_that(&Link::new(&server, "b"), waits).await;
    let mut silent_at = None;
    let taken_at = loop {
        if let Ok(phase) = timeout(Duration::from_millis(100), new.next()).await {
            assert_eq!(phase.unwrap(), Phase::Leading);
            break Instant::now();
        }
        assert!(old.next().now_or_never().is_none());
        if !is_held(&old) {
            silent_at.get_or_insert_with(Instant::now);
        }
    };
    let gap = taken_at - silent_at.unwrap();
    assert!((s(2)..s(5)).contains(&gap), "{gap:?}");
    assert_eq!(
        old.next().await.unwrap(),
        Phase::Lost("\"b\" has taken it".to_owned())
    );
    assert!(old.manager().is_none(), "nothing of the old term is left");
    assert!(waits(&old.next().await.unwrap()));
    new.shutdown().await;
    assert!(leads(&old.next().await.unwrap()));
    assert_eq!(server.lease()["spec"]["leaseTransitions"], 2);
    assert!(
        old.manager()
            .unwrap()
            .metrics()
            .text()
            .contains("pitstop_lease_taken_total 2")
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_taken_away_stops_all_writes_and_ends_a_manager() {
    let server = Server::new();
    let mut manager = Manager::start_on(Link::new(&server, "a"), config("a"))
        .await
        .unwrap();
    server.edit(|lease| lease["spec"]["holderIdentity"] = json!("b"));
    let edited_at = Instant::now();
    let error = manager.wait().await;
    assert_eq!(
        error.to_string(),
        "the lease kube-system/pitstop-controller is lost (\"b\" has taken it); all writes have stopped"
    );
    assert!(edited_at.elapsed() < s(3), "by the next renewal");
    let n = server.lease_writes("a").len();
    manager.shutdown().await;
    assert_eq!(server.lease_writes("a").len(), n, "it is not ours to give back");
    assert_eq!(server.holder(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_and_a_server_that_was_never_there_are_told() {
    let server = Server::new();
    let forbidden =
        "leases.coordination.k8s.io \"pitstop-controller\" is forbidden: User \"x\" cannot get resource";
    for (fault, want) in [
        (Fault::Refused(refused(403, "Forbidden", forbidden)), forbidden),
        (
            Fault::Refused(CallError::Unreachable("connection refused".into())),
            "connection refused",
        ),
    ] {
        let link = Link::with_faults(&server, "a", move |_| Some(fault.clone()));
        let error = replica(&link).await.next().await.err().unwrap().to_string();
        assert_eq!(
            error,
            format!("acquiring the lease kube-system/pitstop-controller: {want}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_waits_out_an_api_server_that_is_away() {
    let server = Server::new();
    let _leader = replica_that(&Link::new(&server, "a"), leads).await;
    let mut standby = replica_that(&Link::cut(&server, "b", s(5), s(60)), waits).await;
    goes_on(&mut standby, s(100)).await;
    assert_eq!(server.holder(), "a");
}

#[tokio::test]
async fn a_standby_is_alive_and_ready_and_does_not_hold_the_lease() {
    let server = Server::new();
    let _leader = replica_that(&Link::new(&server, "a"), leads).await;
    let mut config = config("b");
    config.health_addr = Some("127.0.0.1:0".parse().unwrap());
    let mut standby = Replica::start_on(Link::new(&server, "b"), config).await.unwrap();
    let addr = standby.health_addr().unwrap();
    let early = get(addr, "/readyz").await;
    assert!(
        early.starts_with("HTTP/1.1 503") && early.contains("the lease was not seen yet"),
        "{early}"
    );
    assert!(waits(&standby.next().await.unwrap()));
    for (path, want) in [
        ("/healthz", "ok"),
        ("/readyz", "ok: standing by"),
        ("/metrics", "\npitstop_lease_held 0\n"),
        ("/metrics", "\npitstop_lease_taken_total 0\n"),
    ] {
        let text = get(addr, path).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains(want),
            "{path}: {text}"
        );
    }
}

/// A clock that is set by hand.
#[derive(Debug)]
struct Wall(Mutex<Timestamp>);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A gate that is open for 9 s from now.
fn mk_gate(link: Arc<Link>, clock: &SharedClock) -> Gate {
    Gate::with_permission(
        link,
        Arc::new(Metrics::new()),
        Arc::clone(clock),
        permission(clock),
    )
}

fn permission(clock: &SharedClock) -> Permission {
    Permission {
        until: Instant::now() + s(9),
        until_wall: clock.now() + s(9),
    }
}

async fn write(gate: &Gate) -> Result<Bytes, CallError> {
    let body = json!({ "metadata": { "resourceVersion": "1" }, "spec": {} });
    let call = Call::object(Verb::MergePatch, Resource::Leases, Some("kube-system"), "any").with_body(body);
    gate.send(call).await
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_writes_nothing_before_it_has_renewed() {
    let server = Server::held_by("a", "2025-12-31T23:59:58Z");
    let gate = mk_gate(Link::new(&server, "a"), &clock());
    write(&gate).await.unwrap();
    // SIGSTOP, SIGCONT: the monotonic clock has gone on, and no task has run.
    advance(s(10)).await;
    let refused = write(&gate).await;
    assert!(matches!(refused, Err(CallError::LeaseLost)), "{refused:?}");
    assert_eq!(server.lease_writes("a").len(), 1);
    gate.renewed(permission(&clock()));
    write(&gate).await.unwrap();
    gate.close();
    gate.renewed(permission(&clock()));
    assert!(write(&gate).await.is_err(), "what was lost stays lost");
    assert_eq!(server.lease_writes("a").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_writes_nothing_before_it_has_renewed() {
    let server = Server::held_by("a", "2025-12-31T23:59:58Z");
    let wall = Arc::new(Wall(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
    let clock: SharedClock = Arc::clone(&wall) as SharedClock;
    let gate = mk_gate(Link::new(&server, "a"), &clock);
    // The monotonic clock stood still.
    *wall.0.lock().unwrap() = "2026-01-01T00:00:09Z".parse().unwrap();
    assert!(matches!(write(&gate).await, Err(CallError::LeaseLost)));
    gate.renewed(permission(&clock));
    write(&gate).await.unwrap();
    // One that is set back does not make a lease last longer.
    *wall.0.lock().unwrap() = "2025-01-01T00:00:00Z".parse().unwrap();
    advance(s(9)).await;
    assert!(matches!(write(&gate).await, Err(CallError::LeaseLost)));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_under_way_when_the_time_is_over_is_given_up() {
    let server = Server::new();
    let link = Link::with_faults(&server, "a", |_| Some(Fault::Silence));
    for (renewals, is_closed, want) in [(0, false, 9), (2, false, 13), (0, true, 1)] {
        let gate = mk_gate(Arc::clone(&link), &clock());
        let begun_at = Instant::now();
        let renew = async {
            for _ in 0..renewals {
                sleep(s(2)).await;
                gate.renewed(permission(&clock()));
            }
            if is_closed {
                sleep(s(1)).await;
                gate.close();
            }
        };
        let (answer, ()) = tokio::join!(write(&gate), renew);
        assert!(answer.unwrap_err().is_ambiguous(), "it may have been carried out");
        assert_eq!(begun_at.elapsed().as_secs(), want);
    }
}
