//! Which path answers what. The connection and its limits are `admin.rs`'s.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{State, ui};

/// A path and what makes its body, asked anew at each request.
struct Route {
    path: &'static str,
    content_type: &'static str,
    body: fn(&State) -> String,
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const ROUTES: &[Route] = &[
    Route {
        path: "/",
        content_type: JSON,
        body: State::report,
    },
    Route {
        path: "/stats",
        content_type: JSON,
        body: State::report,
    },
    Route {
        path: "/topology",
        content_type: JSON,
        body: |state| (state.topology)(),
    },
    Route {
        path: "/ui",
        content_type: HTML,
        body: |_| ui::PAGE.to_string(),
    },
    Route {
        path: "/version",
        content_type: JSON,
        body: version,
    },
];

/// Everything here is read only: GET, and HEAD, whose body hyper leaves out.
pub(super) fn respond<B>(state: &State, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some(route) = ROUTES.iter().find(|route| route.path == path) else {
        return response(StatusCode::NOT_FOUND, TEXT, "not found\n".to_string());
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let text = "method not allowed\n".to_string();
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    response(StatusCode::OK, route.content_type, (route.body)(state))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if content_type == HTML {
        ui::protect(headers);
    }
    // A report is true for the moment it was made.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn version(_: &State) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{{\"service\":\"nuthatch\", \"version\":\"{version}\"}}\n")
}
