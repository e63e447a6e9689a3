//! Stories of days, midnights and clocks that lie.

use super::*;

#[test]
fn tomorrows_first_block_is_fetched_in_the_last_minutes_and_taken_at_midnight() {
    let mut process = Process::start(at("2026-12-31", 23, 0), &[]);
    process.mint();
    process.pass(55 * MINUTE - 1);
    assert_eq!(process.disk.len(), 1);
    assert_eq!(process.book.next_tick_ms(process.now), process.now.boot_ms + 1);
    process.pass(1);
    assert_eq!(process.disk[&day("2027-01-01")], 1_000);
    assert_eq!(process.book.next_tick_ms(process.now), process.now.boot_ms + 5 * MINUTE, "nothing more to do before midnight");
    process.pass(5 * MINUTE - 1);
    assert_eq!(process.mint(), (day("2026-12-31"), 1));
    // At midnight nothing has to be fetched: no replica is asked, one tick does it.
    process.now.wall_ms += 1;
    process.now.boot_ms += 1;
    assert_eq!(process.try_mint(), None);
    process.tick();
    assert_eq!(process.asked, []);
    assert_eq!(process.try_mint(), Some((day("2027-01-01"), 0)));
}

#[test]
fn a_leap_day_has_numbers_of_its_own() {
    let mut process = Process::start(at("2028-02-28", 23, 59), &[]);
    let mut days = Vec::new();
    for _ in 0..3 {
        days.push(process.mint().0);
        process.pass(24 * HOUR);
    }
    assert_eq!(days, [day("2028-02-28"), day("2028-02-29"), day("2028-03-01")]);
}

#[test]
fn midnight_is_where_the_offset_puts_it() {
    let start = |minutes, wall_ms| Process::start_at(wall_ms, minutes, BTreeMap::new()).mint().0;
    assert_eq!(start(480, at("2026-11-22", 15, 59)), day("2026-11-22"));
    assert_eq!(start(480, at("2026-11-22", 16, 0)), day("2026-11-23"));
    assert_eq!(start(-330, at("2026-11-22", 5, 29)), day("2026-11-21"));
    let mut process = Process::start_at(at("2026-11-22", 15, 54), 480, BTreeMap::new());
    assert_eq!(process.book.midnight_ms(), at("2026-11-22", 16, 0));
    process.pass(6 * MINUTE);
    assert_eq!(process.mint().0, day("2026-11-23"));
}

#[test]
fn back_by_eight_hours_or_over_midnight_or_by_days_the_later_day_stays() {
    for back_ms in [8 * HOUR, 13 * HOUR, 36 * HOUR, 40 * 24 * HOUR] {
        let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
        assert_eq!(process.mint().1, 0);
        process.jump(-(back_ms as i64));
        assert_eq!(process.book.state(), MintState::Ready);
        // No stall and no duplicate, over refills too.
        assert_eq!(process.mint_many(3_000), (day("2026-11-22"), 3_000));
        assert!(process.disk.keys().eq([&day("2026-11-22")]), "leased for {:?}", process.disk);
        // Put right again, which is no jump.
        process.jump(back_ms as i64);
        assert_eq!(process.mint(), (day("2026-11-22"), 3_001));
    }
}

#[test]
fn put_back_for_days_and_put_right_on_a_later_day_is_no_jump() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.jump(-5 * DAY_MS);
    process.sleep(3 * 24 * HOUR);
    assert_eq!(process.mint().0, day("2026-11-22"));
    process.jump(5 * DAY_MS);
    assert_eq!(process.mint(), (day("2026-11-25"), 0));
}

#[test]
fn back_over_midnight_by_a_little_the_new_day_stays() {
    let mut process = Process::start(at("2026-11-22", 23, 59), &[]);
    process.mint();
    process.pass(MINUTE + 1);
    assert_eq!(process.mint(), (day("2026-11-23"), 0));
    process.jump(-30_000);
    assert_eq!(process.mint(), (day("2026-11-23"), 1));
    process.pass(MINUTE);
    assert_eq!(process.mint(), (day("2026-11-23"), 2));
}

#[test]
fn ahead_by_two_days_stops_minting_until_the_operator_accepts_it() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.mint();
    process.jump(2 * DAY_MS);
    let jump = MintState::ClockJump { known: day("2026-11-22"), clock: day("2026-11-24") };
    assert_eq!((process.book.state(), process.book.can_mint()), (jump, false));
    process.pass(3 * HOUR);
    assert_eq!(process.book.state(), jump);
    assert_eq!(process.disk.len(), 1, "nothing is leased meanwhile");
    process.event(LeaseEvent::ClockAccepted);
    assert_eq!(process.mint(), (day("2026-11-24"), 0));
    // The time since then is borne out again.
    process.pass(25 * HOUR);
    assert_eq!(process.mint(), (day("2026-11-25"), 0));
}

#[test]
fn a_jump_that_is_undone_leaves_no_trace() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.mint();
    process.jump(300 * DAY_MS);
    assert!(matches!(process.book.state(), MintState::ClockJump { .. }));
    process.jump(-300 * DAY_MS);
    assert_eq!((process.book.state(), process.mint()), (MintState::Ready, (day("2026-11-22"), 1)));
}

#[test]
fn a_clock_accepted_once_is_not_accepted_for_ever() {
    let mut process = Process::start(at("2027-06-01", 12, 0), &[("2028-01-01", 0)]);
    process.jump(-190 * DAY_MS);
    process.event(LeaseEvent::ClockAccepted);
    assert_eq!(process.mint().0, day("2026-11-23"));
    process.jump(100 * DAY_MS);
    assert_eq!(process.book.state(), MintState::ClockJump { known: day("2026-11-23"), clock: day("2027-03-03") });
}

#[test]
fn ahead_by_less_than_a_day_is_believed() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.mint();
    process.jump(DAY_MS);
    assert_eq!(process.mint(), (day("2026-11-23"), 0));
    process.jump(DAY_MS + 1);
    assert_eq!(process.book.state(), MintState::ClockJump { known: day("2026-11-23"), clock: day("2026-11-24") });
}

#[test]
fn a_machine_that_slept_for_a_week_goes_on_at_once() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.mint();
    process.sleep(7 * 24 * HOUR);
    assert_eq!((process.book.state(), process.mint()), (MintState::Ready, (day("2026-11-29"), 0)));
}

#[test]
fn a_service_that_was_off_for_months_opens_without_a_word() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[("2026-01-05", 77_000)]);
    assert_eq!(process.mint(), (day("2026-11-22"), 0));
}

#[test]
fn a_day_on_record_far_ahead_is_a_clock_jump_and_acceptance_takes_the_clocks_day() {
    let disk = [("2026-11-22", 4_000), ("2026-12-24", 9_000)];
    let mut process = Process::start(at("2026-11-22", 12, 0), &disk);
    let jump = MintState::ClockJump { known: day("2026-12-24"), clock: day("2026-11-22") };
    assert_eq!((process.book.state(), process.try_mint(), process.asked.len()), (jump, None, 0));
    process.event(LeaseEvent::ClockAccepted);
    assert_eq!(process.mint(), (day("2026-11-22"), 4_000));
    // The record of the far day is honoured when that day comes.
    process.sleep(32 * 24 * HOUR);
    assert_eq!(process.mint(), (day("2026-12-24"), 9_000));
}

#[test]
fn a_clock_that_is_put_right_by_itself_needs_no_acceptance() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[("2026-12-24", 9_000)]);
    process.jump(33 * DAY_MS);
    assert_eq!(process.mint(), (day("2026-12-25"), 0));
}

#[test]
fn a_day_on_record_one_ahead_stays_in_use() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[("2026-11-22", 4_000), ("2026-11-23", 9_000)]);
    assert_eq!(process.mint(), (day("2026-11-23"), 9_000));
    assert!(!process.disk.contains_key(&day("2026-11-24")));
    // Put right by more than a day, onto the day that is in use anyway.
    process.jump(25 * HOUR as i64);
    assert_eq!(process.mint(), (day("2026-11-23"), 9_001));
}

#[test]
fn a_restart_shortly_before_midnight_does_not_begin_tomorrow_early() {
    let mut process = Process::start(at("2026-11-22", 23, 50), &[]);
    process.mint();
    process.pass(6 * MINUTE);
    assert_eq!(process.disk.len(), 2, "tomorrow is fetched ahead");
    let mut process = process.restart();
    assert_eq!(process.mint(), (day("2026-11-22"), 1_000));
    process.pass(4 * MINUTE);
    assert_eq!(process.mint(), (day("2026-11-23"), 1_000), "tomorrow's first lease was lost with the process, and only that");
}

#[test]
fn a_clock_outside_the_calendar_stops_minting_until_it_comes_back() {
    let inside = at("2026-11-22", 12, 0);
    for outside in [i64::MIN, -1, 0, at("2000-01-01", 0, 0) - 1, at("3023-12-31", 0, 0) + DAY_MS, i64::MAX] {
        let mut process = Process::start(outside, &[]);
        assert_eq!(process.book.state(), MintState::ClockOutOfRange { wall_ms: outside });
        process.event(LeaseEvent::ClockAccepted);
        assert_eq!((process.try_mint(), process.book.midnight_ms()), (None, i64::MIN));
        process.now.wall_ms = inside;
        assert_eq!(process.mint(), (day("2026-11-22"), 0));
        process.now.wall_ms = outside;
        process.tick();
        assert_eq!((process.book.can_mint(), process.book.state()), (false, MintState::ClockOutOfRange { wall_ms: outside }));
        process.now.wall_ms = inside;
        assert_eq!(process.mint(), (day("2026-11-22"), 1));
    }
}

#[test]
fn the_last_day_of_the_calendar_ends_in_an_error_and_not_in_a_panic() {
    let mut process = Process::start(at("3023-12-31", 23, 58), &[]);
    assert_eq!(process.mint(), (Day::MAX, 0));
    process.pass(2 * MINUTE);
    assert!(matches!(process.book.state(), MintState::ClockOutOfRange { .. }));
}
