use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn key() -> Key {
    Key::new(Sort::ReplicaSet, "default", "a")
}

fn step() -> Step {
    Step::new(
        Sort::Pod,
        Write::post("/api/v1/namespaces/default/pods".to_owned(), Value::Null),
    )
}

/// Begins a plan of these steps, and returns them as they come back.
fn begin(queue: &mut Queue, steps: Vec<Step>) -> Vec<Taken> {
    let writes = queue.begin(&key(), Plan::of(steps), at(0));
    let taken = writes.into_iter().map(|write| match write.asked_by {
        Some(Asked::Workload(taken)) => *taken,
        other => panic!("{other:?}"),
    });
    taken.collect()
}

fn made(version: u64) -> Value {
    serde_json::json!({"metadata": {"name": "p", "resourceVersion": version.to_string()}})
}

#[test]
fn a_workload_waits_for_its_own_writes_to_be_seen() {
    let mut queue = Queue::default();
    queue.touch(key());
    assert_eq!(queue.due(at(0)), [key()]);
    let [first, second]: [Taken; 2] = begin(&mut queue, vec![step(), step()]).try_into().unwrap();
    queue.touch(key());
    assert!(queue.due(at(0)).is_empty(), "two writes are under way");
    queue.on_taken(first, Ok(made(7)), String::new(), at(0));
    queue.on_taken(second, Ok(made(8)), String::new(), at(0));
    queue.progress(Sort::Pod, 7);
    assert!(queue.due(at(0)).is_empty(), "the watch has not shown version 8");
    queue.progress(Sort::ReplicaSet, 9);
    assert!(queue.due(at(0)).is_empty(), "another watch says nothing about it");
    queue.progress(Sort::Pod, 8);
    assert_eq!(queue.due(at(0)), [key()]);
}

#[test]
fn what_a_watch_has_shown_before_the_answer_is_not_waited_for() {
    let mut queue = Queue::default();
    let taken = begin(&mut queue, vec![step()]).remove(0);
    queue.progress(Sort::Pod, 8);
    queue.on_taken(taken, Ok(made(8)), String::new(), at(0));
    assert_eq!(queue.due(at(0)), [key()]);
}

#[test]
fn a_new_list_ends_every_wait() {
    let mut queue = Queue::default();
    let taken = begin(&mut queue, vec![step()]).remove(0);
    queue.on_taken(taken, Ok(made(8)), String::new(), at(0));
    queue.synced(Sort::Pod);
    assert_eq!(queue.due(at(0)), [key()]);
}

#[test]
fn failures_are_tried_again_after_ever_longer_waits() {
    let mut queue = Queue::default();
    let mut now = at(0);
    let mut waits = Vec::new();
    for times in 1..=12 {
        let taken = begin(&mut queue, vec![step()]).remove(0);
        queue.on_taken(taken, Err(403), "no".to_owned(), now);
        let failure = queue.failure(&key()).unwrap();
        assert_eq!((failure.times, failure.code), (times, 403));
        assert!(queue.due(now).is_empty());
        let next = queue.next().unwrap();
        waits.push(next.duration_since(now).as_millis());
        now = next;
        assert_eq!(queue.due(now), [key()]);
    }
    assert_eq!(waits.first(), Some(&100));
    assert_eq!(waits.get(1), Some(&200));
    assert_eq!(waits.last(), Some(&60_000));
    let taken = begin(&mut queue, vec![step()]).remove(0);
    queue.on_taken(taken, Ok(made(1)), String::new(), now);
    queue.synced(Sort::Pod);
    assert!(queue.failure(&key()).is_none());
}

#[test]
fn a_step_that_follows_is_taken_only_after_success() {
    let mut queue = Queue::default();
    let taken = begin(&mut queue, vec![step().then(step())]).remove(0);
    assert_eq!(
        queue
            .on_taken(taken.clone(), Ok(made(1)), String::new(), at(0))
            .len(),
        1
    );
    let mut queue = Queue::default();
    begin(&mut queue, vec![step()]);
    assert!(queue.on_taken(taken, Err(500), String::new(), at(0)).is_empty());
}

#[test]
fn a_time_that_is_over_is_not_waited_for() {
    let mut queue = Queue::default();
    for (again, wanted) in [(9, None), (10, None), (11, Some(at(11)))] {
        let plan = Plan {
            steps: Vec::new(),
            again: Some(at(again)),
        };
        queue.begin(&key(), plan, at(10));
        assert_eq!(queue.next(), wanted);
    }
}
