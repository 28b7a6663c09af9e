//! Arithmetic on the numbers of INFO as they are written: whole, or with some decimals, which are kept.

use std::fmt::Write as _;

use super::rules::Rule;

/// The sum, smallest or largest of `values`, with as many decimals as the one that has most; `None` if one is
/// no number.
pub(super) fn total(rule: Rule, values: &[&str]) -> Option<String> {
    let whole: Option<Vec<i128>> = values.iter().map(|value| value.parse().ok()).collect();
    if let Some(whole) = whole {
        let all = whole.into_iter();
        let total = match rule {
            Rule::Least => all.min(),
            Rule::Most => all.max(),
            _ => Some(all.fold(0i128, i128::saturating_add)),
        };
        return total.map(|total| total.to_string());
    }
    let numbers: Option<Vec<f64>> = values.iter().map(|value| decimal(value)).collect();
    let all = numbers?.into_iter();
    let total = match rule {
        Rule::Least => all.reduce(f64::min),
        Rule::Most => all.reduce(f64::max),
        _ => Some(all.sum()),
    };
    let decimals = values.iter().filter_map(|value| value.split_once('.'));
    let places = decimals.map(|(_, decimals)| decimals.len()).max();
    total.map(|total| format!("{total:.*}", places.unwrap_or(0)))
}

/// `12.50`; not `inf` and what else Rust reads as a number.
fn decimal(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b".-".contains(&b));
    text.parse().ok().filter(|_| plain)
}

/// The parts of `a=1,b=2`; `None` if the value has no such form.
pub(super) fn fields(value: &str) -> Option<Vec<(&str, &str)>> {
    value
        .split(',')
        .map(|field| field.split_once('='))
        .collect()
}

/// Several such values as one, each part by itself; parts that are no numbers must be the same.
pub(super) fn total_fields(rule: Rule, values: &[&str]) -> Option<Vec<(String, String)>> {
    let all: Vec<Vec<(&str, &str)>> = values
        .iter()
        .map(|value| fields(value))
        .collect::<Option<_>>()?;
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let merged = names.into_iter().filter_map(|name| {
        let of = all.iter().flatten().filter(|(other, _)| *other == name);
        let of: Vec<&str> = of.map(|(_, value)| *value).collect();
        let value = total(rule, &of).or_else(|| same(&of).map(str::to_owned))?;
        Some((name.to_owned(), value))
    });
    Some(merged.collect())
}

pub(super) fn join_fields(fields: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{name}={value}");
    }
    out
}

/// The value that all have.
pub(super) fn same<'a>(values: &[&'a str]) -> Option<&'a str> {
    let (first, rest) = values.split_first()?;
    rest.iter().all(|value| value == first).then_some(*first)
}

/// The lowest of versions such as `7.0.15`.
pub(super) fn lowest_version<'a>(values: &[&'a str]) -> Option<&'a str> {
    let numbers = |version: &str| -> Vec<u64> {
        let parts = version.split('.');
        parts.map(|part| part.parse().unwrap_or(0)).collect()
    };
    values.iter().min_by_key(|value| numbers(value)).copied()
}

/// Redis' `bytesToHuman`.
pub(super) fn human(bytes: &str) -> Option<String> {
    let n: u64 = bytes.parse().ok()?;
    if n < 1024 {
        return Some(format!("{n}B"));
    }
    let units = ['K', 'M', 'G', 'T', 'P'];
    let mut scaled = n as f64 / 1024.0;
    let mut at = 0;
    while n >> (10 * (at + 2)) > 0 && at + 1 < units.len() {
        scaled /= 1024.0;
        at += 1;
    }
    Some(format!("{scaled:.2}{}", units[at]))
}

/// `a / b` with two decimals, 0 if `b` is.
pub(super) fn ratio(a: f64, b: f64) -> String {
    let ratio = if b > 0.0 { a / b } else { 0.0 };
    format!("{ratio:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_people_are_as_redis_writes_them() {
        for (bytes, wanted) in [
            ("0", "0B"),
            ("1023", "1023B"),
            ("1024", "1.00K"),
            ("941248", "919.19K"),
            ("1048576", "1.00M"),
            ("25276514304", "23.54G"),
            ("1099511627776", "1.00T"),
            ("18446744073709551615", "16384.00P"),
        ] {
            assert_eq!(human(bytes).as_deref(), Some(wanted), "{bytes}");
        }
        assert_eq!(human("-1"), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(
            lowest_version(&["7.0.15", "7.0.9", "10.0.0"]),
            Some("7.0.9")
        );
        assert_eq!(lowest_version(&["255.255.255", "8.0"]), Some("8.0"));
    }

    #[test]
    fn totals_keep_the_decimals_and_take_numbers_only() {
        assert_eq!(
            total(Rule::Sum, &["1", "0.5", "0.25"]).as_deref(),
            Some("1.75")
        );
        assert_eq!(total(Rule::Least, &["1", "-2"]).as_deref(), Some("-2"));
        assert_eq!(total(Rule::Most, &["1.5", "1"]).as_deref(), Some("1.5"));
        for other in ["ok", "", "inf", "1%", "nan"] {
            assert_eq!(total(Rule::Sum, &["1", other]), None, "{other}");
        }
    }
}
