//! Files that are read as a series, and those that are refused with a message that helps.

use memsample_leaks::{Verdict, judge, read_csv};

#[track_caller]
fn refused(text: &[u8], line: Option<u64>, what: &str) {
    let bad = read_csv(text).expect_err("it is no series");
    assert_eq!(bad.line, line, "{bad}");
    assert!(bad.what.contains(what), "{bad}");
}

#[test]
fn what_is_no_series_is_refused() {
    refused(b"", None, "the file is empty");
    refused(b"time_s,bytes\n", None, "no row");
    refused(b"1,2\n3,4\n", None, "no column `time_s`");
    refused(b"time_s,rss\n1,2\n", None, "no column `bytes`");
    refused(b"time_s;bytes\n1;2\n", None, "separated by commas");
    refused(&vec![0; 1 << 20], None, "a line is longer than 64 KiB");
    refused(
        &[&b"time_s,bytes\n"[..], &[b'1'; 1 << 20]].concat(),
        None,
        "a line is longer than 64 KiB",
    );
    refused(b"time_s,bytes\n1,2\n2,much\n", Some(3), "bytes is not a number: \"much\"");
    refused(b"time_s,bytes\n,2\n", Some(2), "time_s is not a number");
    refused(b"time_s,bytes\n1,NaN\n", Some(2), "not a number");
    refused(b"time_s,bytes\n1,inf\n", Some(2), "infinite");
    refused(b"time_s,bytes\n1,-5\n", Some(2), "negative");
    refused(b"time_s,bytes\n1,5\n3,5\n2,5\n", Some(4), "sort the rows");
    refused(b"time_s,bytes\n1,5\n1,5\n", Some(3), "sort the rows");
    refused(b"time_s,bytes,cycle\n1,5,2\n2,5,1\n", Some(3), "number cycles upwards");
    refused(b"time_s,bytes\n1,2,3\n", Some(2), "3 fields");
    refused(b"time_s,bytes\n1,\xff\xfe\n", Some(2), "UTF-8");
}

#[test]
fn what_spreadsheets_write_is_read() {
    let (series, unmeasured) =
        read_csv(&b"\xef\xbb\xbftime_s,bytes,cycle\r\n1, 5,\r\n2,,\r\n3,7,1\r\n"[..]).unwrap();
    assert_eq!((series.samples().len(), unmeasured), (2, 1));
    assert_eq!(series.samples()[1].cycle, Some(1.0));
    let quoted = read_csv(&b"\"time_s\",\"bytes\"\n\"1\",\"5\"\n\"2\",\"\"\n"[..]).unwrap();
    assert_eq!((quoted.0.samples().len(), quoted.1), (1, 1));
}

#[test]
fn one_row_cannot_tell() {
    let (series, _) = read_csv(&b"time_s,bytes\n1,5\n"[..]).unwrap();
    let said = judge(&series);
    assert_eq!((said.verdict, said.confidence), (Verdict::CannotTell, None));
    assert!(said.reason.contains("only 1 sample;"), "{}", said.reason);
}

#[test]
fn a_rate_by_cycle_is_that_of_the_leak() {
    let mut text = "time_s,bytes,cycle\n".to_owned();
    for at in 0..2000_u64 {
        // A request every two seconds, of which each keeps 4 KiB; the noise is that of its buffers.
        let bytes = (64 << 20) + at / 2 * 4096 + at * 7919 % 13 * 4096;
        text += &format!("{at},{bytes},{}\n", at / 2);
    }
    let said = judge(&read_csv(text.as_bytes()).unwrap().0);
    assert_eq!(said.verdict, Verdict::Leaks, "{}", said.reason);
    let rate = said.by_cycle.expect("cycles are given");
    assert!((rate.lower..=rate.upper).contains(&4096.0), "{rate:?}");
    // 64 MiB and 1000 requests are reached at the end; 8 MiB more take 2048 of them.
    let (soonest, latest) = said.hours_until(said.level_bytes.unwrap() + 8.0 * 1048576.0).unwrap();
    let hours = 2048.0 * 2.0 / 3600.0;
    assert!(soonest <= hours && hours <= latest, "{soonest} to {latest}");
}
