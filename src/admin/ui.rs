//! The page at `/ui`, for people: what `/stats` and `/topology` say, live.
//!
//! One HTML text with everything in it, put together at compile time; its script asks for the two reports
//! about once a second. It is served as it is: nothing of the configuration or of a request goes into it.

use hyper::HeaderMap;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

macro_rules! style {
    () => {
        include_str!("ui/style.css")
    };
}

macro_rules! script {
    () => {
        concat!(
            "\"use strict\";\n",
            include_str!("ui/format.js"),
            include_str!("ui/model.js"),
            include_str!("ui/view.js"),
            include_str!("ui/pools.js"),
            include_str!("ui/page.js"),
        )
    };
}

pub(super) const PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<title>Nuthatch</title>\n",
    // Without one browsers ask for /favicon.ico.
    "<link rel=\"icon\" href=\"data:image/svg+xml,",
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'>",
    "<rect width='8' height='8' rx='2' fill='%232a62b8'/>",
    "<path d='M2 6V2l4 4V2' fill='none' stroke='%23fff'/></svg>\">\n<style>",
    style!(),
    "</style>\n</head>\n<body>\n",
    include_str!("ui/body.html"),
    "<script>",
    script!(),
    "</script>\n</body>\n</html>\n",
);

/// Just this script and this style, told by their SHA-256, and just our own reports: a name that became
/// markup after all could neither run nor load anything. The tests below say what the sums are.
const POLICY: &str = concat!(
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'; ",
    "script-src 'sha256-AHMiuC7TQ1ruFcUOqinqMnwVkgT6v7ejYZwjLTewPq4='; ",
    "style-src 'sha256-uNRvkw2k/n9AMYyIKAv/ybh4xOb/RklrjSt0YHokyno='",
);

/// Adds what a browser has to know about the page besides its type.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_the_sums_of_style_and_script() {
        for (directive, text) in [("script-src", script!()), ("style-src", style!())] {
            let sum = BASE64_STANDARD.encode(Sha256::digest(text));
            let expected = format!("{directive} 'sha256-{sum}'");
            assert!(POLICY.contains(&expected), "POLICY lacks {expected}");
        }
    }

    #[test]
    fn the_page_loads_nothing_and_makes_no_markup_of_text() {
        for forbidden in [
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=",
            "onclick=",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        // Namespaces of SVG, which nobody loads.
        let addresses = PAGE.matches("//www.w3.org/2000/svg").count();
        assert_eq!(PAGE.matches("://").count(), addresses);
    }

    #[test]
    fn parts_do_not_end_the_element_that_holds_them() {
        assert!(!style!().contains("</"), "style.css");
        assert!(!script!().contains("</"), "a script");
        assert!(!script!().contains("<!--"), "a script");
    }
}
