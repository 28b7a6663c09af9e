//! Which path answers what. The connection and its limits are `admin.rs`'s.
//!
//! Everything here is read only. Errors are plain text, one line of what is wrong and what to do instead.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{State, metrics, ui};
use crate::config;

/// What a path answers, made anew at each request.
struct Route {
    path: &'static str,
    /// For who asks for a path that does not exist.
    about: &'static str,
    answer: fn(&State, &Asked) -> Answer,
}

/// What of a request an answer may depend on.
pub(super) struct Asked {
    /// Empty if there is none.
    query: String,
    /// All values of the header Accept.
    pub(super) accept: String,
}

pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    /// More headers.
    about: Vec<(&'static str, HeaderValue)>,
    body: String,
}

/// How often the configuration changed, 1 at first, and what became of the file that was read last.
const GENERATION: &str = "nuthatch-config-generation";
const LAST_RELOAD: &str = "nuthatch-last-reload";

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const ROUTES: &[Route] = &[
    Route {
        path: "/",
        about: "the same as /stats",
        answer: |state, _| Answer::json(state.report()),
    },
    Route {
        path: "/stats",
        about: "all counters, JSON in nutcracker's shape",
        answer: |state, _| Answer::json(state.report()),
    },
    Route {
        path: "/metrics",
        about: "all counters for Prometheus",
        answer: |state, asked| {
            let format = metrics::Format::wanted(&asked.accept);
            Answer::new(format.content_type(), metrics::text(state, format))
        },
    },
    Route {
        path: "/health",
        about: "ok while the process serves",
        answer: |_, _| Answer::new(TEXT, "ok\n".to_owned()),
    },
    Route {
        path: "/ready",
        about: "200 if clients should be sent here, else 503; ?strict asks for every server",
        answer: ready,
    },
    Route {
        path: "/topology",
        about: "where every server is and what its sentinels say, JSON",
        answer: |state, _| Answer::json((state.sources.page)()),
    },
    Route {
        path: "/config",
        about: "the configuration in use, with defaults and without secrets, JSON",
        answer: configuration,
    },
    Route {
        path: "/ui",
        about: "a page that shows all of it live",
        answer: |_, _| Answer::new(HTML, ui::PAGE.to_string()),
    },
    Route {
        path: "/version",
        about: "the version, JSON",
        answer: |_, _| Answer::json(version()),
    },
];

impl Answer {
    fn new(content_type: &'static str, body: String) -> Answer {
        Answer {
            status: StatusCode::OK,
            content_type,
            about: Vec::new(),
            body,
        }
    }

    fn json(body: String) -> Answer {
        Answer::new(JSON, body)
    }

    fn error(status: StatusCode, body: String) -> Answer {
        Answer {
            status,
            ..Answer::new(TEXT, body)
        }
    }
}

impl Asked {
    fn of<B>(request: &Request<B>) -> Asked {
        let accept = request.headers().get_all(ACCEPT).iter();
        let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
        Asked {
            query: request.uri().query().unwrap_or_default().to_owned(),
            accept: accept.join(","),
        }
    }

    /// Is there `?name`, or `?name=` anything that does not mean no?
    fn has(&self, name: &str) -> bool {
        self.query.split('&').any(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            key == name && !["0", "false", "no"].contains(&value)
        })
    }
}

/// HEAD is answered as GET; hyper leaves the body out.
pub(super) async fn respond<B>(
    state: Arc<State>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let Some(route) = ROUTES.iter().find(|route| route.path == path) else {
        return Ok(response(Answer::error(StatusCode::NOT_FOUND, overview())));
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let text = "method not allowed: use GET or HEAD\n".to_owned();
        let mut response = response(Answer::error(StatusCode::METHOD_NOT_ALLOWED, text));
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return Ok(response);
    }
    let asked = Asked::of(&request);
    let answer = state.produce(move |state| (route.answer)(state, &asked));
    Ok(response(answer.await))
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(answer.content_type);
    headers.insert(CONTENT_TYPE, content_type);
    if answer.content_type == HTML {
        ui::protect(headers);
    }
    headers.extend(
        (answer.about.into_iter()).map(|(name, value)| (HeaderName::from_static(name), value)),
    );
    // A report is true for the moment it was made.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn overview() -> String {
    let mut text = "not found; there is\n".to_owned();
    for route in ROUTES {
        let _ = writeln!(text, "  {:<12}{}", route.path, route.about);
    }
    text
}

fn ready(state: &State, asked: &Asked) -> Answer {
    let strict = asked.has("strict") || asked.has("all");
    let verdict = (state.sources.readiness).verdict(&state.health(), strict);
    let mut body = serde_json::to_string(&verdict).expect("keys are text");
    body.push('\n');
    Answer {
        status: match verdict.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        },
        ..Answer::json(body)
    }
}

fn configuration(state: &State, _: &Asked) -> Answer {
    let in_use = state.sources.config.get();
    let last_reload = match &in_use.last_reload {
        None => "none",
        Some(reload) if reload.result.is_ok() => "taken",
        Some(_) => "refused",
    };
    Answer {
        about: vec![
            (GENERATION, in_use.generation.into()),
            (LAST_RELOAD, HeaderValue::from_static(last_reload)),
        ],
        ..Answer::json(config::effective(&in_use.config))
    }
}

fn version() -> String {
    let version = serde_json::json!({
        "service": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "commit": super::COMMIT,
    });
    format!("{version}\n")
}
