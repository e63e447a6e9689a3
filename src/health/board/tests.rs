use super::*;
use std::time::Duration;

fn set(id: u16) -> SetId {
    SetId::new(id).unwrap()
}

fn board(ids: &[u16]) -> Board {
    let board = Board::new(BreakerSettings::new(), 100);
    ids.iter().for_each(|id| _ = board.add(set(*id), 0));
    board
}

fn health(board: &Board, id: u16) -> &SetHealth {
    board.sets[usize::from(id)].get().unwrap()
}

fn say(board: &Board, id: u16, side: Side, outcome: Outcome, calls: usize, now_ms: u64) {
    let gate = health(board, id).gate(side);
    for _ in 0..calls {
        if let Ok(permit) = gate.admit(now_ms) {
            gate.report(permit, outcome, now_ms, || board.others_are_well(set(id), side, now_ms));
        }
    }
}

fn closed(board: &Board, id: u16, side: Side) -> bool {
    health(board, id).gate(side).is_closed()
}

#[test]
fn a_set_is_found_by_its_id_and_writes_and_reads_stand_apart() {
    let board = board(&[0, 7, 999]);
    assert!(board.sets[8].get().is_none());
    assert_eq!(board.all().map(|(id, _)| id.get()).collect::<Vec<_>>(), [0, 7, 999]);
    say(&board, 999, Side::Writes, Outcome::Failed, 5, 0);
    assert!(!closed(&board, 999, Side::Writes) && closed(&board, 999, Side::Reads));
    assert!(closed(&board, 0, Side::Writes) && closed(&board, 7, Side::Writes));
    // Added once more, it is as it was.
    board.add(set(999), 0);
    assert!(!closed(&board, 999, Side::Writes));
}

#[test]
fn the_last_set_that_works_is_not_left_for_being_slow() {
    let board = board(&[1, 2, 3]);
    health(&board, 3).set_takes_orders(false);
    say(&board, 1, Side::Writes, Outcome::Slow, 100, 0);
    assert!(!closed(&board, 1, Side::Writes));
    // 1 is open and 3 is being drained: 2 is all there is.
    say(&board, 2, Side::Writes, Outcome::Slow, 100, 0);
    assert!(closed(&board, 2, Side::Writes));
    // 1 is only just coming back.
    say(&board, 1, Side::Writes, Outcome::Good, 2, 1_000);
    say(&board, 2, Side::Writes, Outcome::Slow, 100, 2_000);
    assert!(closed(&board, 1, Side::Writes) && closed(&board, 2, Side::Writes));
    say(&board, 2, Side::Writes, Outcome::Slow, 100, 11_000);
    assert!(!closed(&board, 2, Side::Writes));
    // A read finds its order on its own SET or nowhere.
    say(&board, 1, Side::Reads, Outcome::Slow, 100, 0);
    assert!(closed(&board, 1, Side::Reads));
}

#[test]
fn a_set_whose_time_has_come_is_offered_to_one_order_and_then_counts_as_idle() {
    let board = board(&[1, 2, 3]);
    let tick = |now_ms: u64| {
        let mut idle = Vec::new();
        board.tick(now_ms, |set, side| idle.push((set.get(), side)));
        idle
    };
    assert_eq!((tick(0), board.take_wanted()), (vec![], None));
    say(&board, 1, Side::Writes, Outcome::Failed, 5, 0);
    say(&board, 2, Side::Writes, Outcome::Failed, 5, 0);
    say(&board, 2, Side::Reads, Outcome::Failed, 5, 0);
    assert_eq!((tick(100), board.take_wanted()), (vec![], None));
    assert_eq!(tick(1_000), [(2, Side::Writes), (2, Side::Reads)]);
    assert_eq!((board.take_wanted(), board.take_wanted()), (Some(set(1)), None));
    // Taken, and offered again until it has what it needs; not taken: idle.
    assert_eq!(tick(1_100), [(2, Side::Writes), (2, Side::Reads)]);
    assert_eq!(tick(1_200), [(1, Side::Writes), (2, Side::Reads)]);
    assert_eq!(board.take_wanted(), Some(set(2)));
    say(&board, 1, Side::Writes, Outcome::Good, 2, 1_300);
    say(&board, 2, Side::Writes, Outcome::Good, 2, 1_300);
    say(&board, 2, Side::Reads, Outcome::Good, 2, 1_300);
    assert_eq!((tick(1_400), board.take_wanted()), (vec![], None));
}

#[test]
fn a_call_is_slow_from_the_moment_the_settings_say() {
    let board = Board::new(BreakerSettings::new().slow_calls(Duration::from_millis(20), 80), 1);
    assert_eq!((board.worked(19), board.worked(20)), (Outcome::Good, Outcome::Slow));
}

#[test]
fn threads_cannot_spend_more_than_the_budget_holds_nor_earn_beyond_full() {
    let board = board(&[1]);
    let budget = &health(&board, 1).budget;
    assert_eq!(budget.attempts(), 105, "five failures open it, a hundred are in flight");
    let spent = || (0..100).filter(|_| budget.spend()).count() as u64;
    let all: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(spent)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    });
    assert_eq!((all, budget.attempts(), budget.spend()), (105, 0, false));
    std::thread::scope(|scope| {
        (0..8).for_each(|_| _ = scope.spawn(|| (0..100).for_each(|_| budget.earn(1))));
    });
    assert_eq!(budget.attempts(), 80, "a fifth of 800 creates, at two tokens each");
    budget.earn(u64::MAX);
    assert_eq!(budget.attempts(), 105);
}

#[test]
fn the_neighbour_in_memory_is_not_disturbed() {
    assert_eq!((align_of::<SetHealth>(), align_of::<Budget>()), (128, 128));
}
