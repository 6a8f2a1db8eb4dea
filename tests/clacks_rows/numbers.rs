//! How counters count.

use crate::check;

/// The key is set to the first (unless that is empty), the second is done to it: then it is the third.
const NUMBERS: [(&str, &[&str], &str); 71] = [
    ("", &["INCREMENT n"], "1"),
    ("", &["DECREMENT n"], "-1"),
    ("STORE n=5\na> REMOVE n", &["INCREMENT n"], "1"),
    ("STORE n=", &["INCREMENT n"], "1"),
    ("STORE n=abc", &["INCREMENT n"], "1"),
    ("STORE n=12abc", &["INCREMENT n"], "1"),
    ("STORE n=0x10", &["INCREMENT n"], "1"),
    ("STORE n=1_000", &["INCREMENT n"], "1"),
    ("STORE n=1e", &["INCREMENT n"], "1"),
    ("STORE n= 5", &["INCREMENT n"], "6"),
    ("STORE n=5 ", &["INCREMENT n"], "6"),
    ("STORE n=+5", &["INCREMENT n"], "6"),
    ("STORE n=-5", &["INCREMENT n"], "-4"),
    ("STORE n=.5", &["INCREMENT n"], "1.5"),
    ("STORE n=5.", &["INCREMENT n"], "6"),
    ("STORE n=007", &["INCREMENT n"], "8"),
    ("STORE n=1e3", &["INCREMENT n"], "1001"),
    ("STORE n=1E3", &["DECREMENT n"], "999"),
    ("STORE n=0 but true", &["INCREMENT n=5"], "5"),
    ("STORE n=inf", &["INCREMENT n"], "Inf"),
    ("STORE n=Infinity", &["DECREMENT n"], "Inf"),
    ("STORE n=-inf", &["INCREMENT n"], "-Inf"),
    ("STORE n=nan", &["INCREMENT n"], "NaN"),
    ("STORE n=1e400", &["INCREMENT n"], "Inf"),
    ("STORE n=-1e400", &["INCREMENT n"], "-Inf"),
    ("STORE n=1", &["INCREMENT n=inf"], "Inf"),
    ("STORE n=1", &["DECREMENT n=Infinity"], "-Inf"),
    ("STORE n=1", &["INCREMENT n=nan"], "NaN"),
    ("STORE n=1", &["INCREMENT n=1e400"], "Inf"),
    ("STORE n=inf", &["DECREMENT n=inf"], "NaN"),
    ("STORE n=7", &["INCREMENT n=abc"], "7"),
    ("STORE n=7", &["INCREMENT n=0x10"], "7"),
    ("STORE n=7", &["INCREMENT n=--2"], "7"),
    ("STORE n=7", &["INCREMENT n=."], "7"),
    ("STORE n=7", &["INCREMENT n=3abc"], "10"),
    ("STORE n=7", &["INCREMENT n= 5"], "12"),
    ("STORE n=7", &["INCREMENT n=-2"], "5"),
    ("STORE n=7", &["DECREMENT n=-2"], "9"),
    ("STORE n=7", &["DECREMENT n=1e2x"], "-93"),
    ("STORE n=0.1", &["INCREMENT n=0.2"], "0.3"),
    ("STORE n=1", &["DECREMENT n=0.9"], "0.1"),
    ("", &["INCREMENT n=0.333333333333333333"], "0.333333333333333"),
    ("", &["INCREMENT n=0.1"; 10], "1"),
    (
        "",
        &[
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "INCREMENT n=0.1",
            "DECREMENT n",
        ],
        "-1.11022302462516e-16",
    ),
    ("STORE n=1e15", &["INCREMENT n=0"], "1000000000000000"),
    ("STORE n=1e15", &["INCREMENT n"], "1000000000000001"),
    ("STORE n=1e16", &["INCREMENT n"], "10000000000000001"),
    ("STORE n=999999999999999.5", &["INCREMENT n=0"], "1e+15"),
    ("STORE n=1e15", &["INCREMENT n=0.3"], "1e+15"),
    ("STORE n=1e20", &["INCREMENT n=0"], "1e+20"),
    ("STORE n=1e-5", &["INCREMENT n=0"], "1e-05"),
    ("STORE n=0.0001", &["INCREMENT n=0"], "0.0001"),
    ("STORE n=123456789012345678", &["INCREMENT n"], "123456789012345679"),
    ("STORE n=1234567.891", &["INCREMENT n=0"], "1234567.891"),
    ("STORE n=9223372036854775807", &["INCREMENT n"], "9223372036854775808"),
    ("STORE n=18446744073709551614", &["INCREMENT n"], "18446744073709551615"),
    ("STORE n=18446744073709551615", &["INCREMENT n"], "1.84467440737096e+19"),
    ("STORE n=18446744073709551615", &["DECREMENT n"], "18446744073709551614"),
    ("STORE n=-9223372036854775808", &["DECREMENT n"], "-9.22337203685478e+18"),
    ("STORE n=-9223372036854775808", &["INCREMENT n"], "-9223372036854775807"),
    ("STORE n=0", &["DECREMENT n=9223372036854775808"], "-9223372036854775808"),
    ("STORE n=0", &["DECREMENT n=18446744073709551615"], "-1.84467440737096e+19"),
    ("STORE n=-0", &["INCREMENT n=0"], "0"),
    ("STORE n=-0.0", &["DECREMENT n=0"], "0"),
    ("STORE n=1", &["INCREMENT n=-1"], "0"),
    ("STORE n=-0", &["INCREMENT n=-0.0"], "0"),
    ("STORE n=5", &["DECREMENT n=5.0"], "0"),
    ("STORE n=2.50", &["INCREMENT n=0"], "2.5"),
    ("STORE n=\\x095", &["INCREMENT n"], "6"),
    ("STORE n=5", &["SET n=7"], "5"),
    ("STORE n=5", &["SETANDSTORE n=7", "INCREMENT n"], "8"),
];

#[test]
fn numbers() {
    let mut script = String::new();
    for (before, commands, after) in NUMBERS {
        let before = if before.is_empty() { String::new() } else { format!("a> {before}\n") };
        let commands: String = commands.iter().map(|command| format!("a> {command}\n")).collect();
        script.push_str(&format!(
            "\n# {before:?} {commands:?}\n+ a rw\n{before}{commands}a> RETRIEVE n\na< RETRIEVED n={after}\n"
        ));
    }
    script.push_str(
        "
# the step is split off at the last equals sign
+ a rw
a> INCREMENT a=b=3
a> RETRIEVE a
a< NOTRETRIEVED a
a> KEYLIST
a< KEYLISTSTART
a< KEY a=b
a< KEYLISTEND
a> INCREMENT x=
a< OVERHEAD E unknown_command INCREMENT x=
a> RETRIEVE x
a< NOTRETRIEVED x
a> INCREMENT =5
a> RETRIEVE =5
a< RETRIEVED =5=1
",
    );
    check(&script);
}
