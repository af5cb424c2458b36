//! Refusals in JSON: what happened and what to do.

use super::super::api::Problem;
use crate::{
    notation::SettingError,
    region::{admin::AdminError, backend::Unavailable},
};
use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use sojourn_core::{Refusal, ids::KeyError, region::RegionRefusal};

/// A request that was not done.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    problem: Problem,
}

impl Refused {
    /// With this status, for this reason.
    pub fn new(status: StatusCode, error: &str, mend: &str) -> Self {
        Self { status, problem: Problem { error: error.to_owned(), mend: mend.to_owned() } }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

/// Answers requests for what there is not.
pub async fn unknown_path(uri: Uri) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, &format!("there is no {}", uri.path()), "GET / lists what there is")
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), &rejection.body_text(), "")
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        let (status, mend) = match &error {
            Unavailable::NoLeader { .. } | Unavailable::HomeAway { .. } | Unavailable::Loading => {
                (StatusCode::SERVICE_UNAVAILABLE, "`sojourn cluster status` shows which nodes are missing")
            }
            Unavailable::NotCopied { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "look whether the other regions are up, then try again")
            }
            Unavailable::NotActing { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "`sojourn region status` shows who acts for whom")
            }
            Unavailable::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "make room on the nodes' disks"),
            Unavailable::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, ""),
            Unavailable::Undecided(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "`sojourn region status` shows which regions are there")
            }
            Unavailable::Refused(_) => (StatusCode::CONFLICT, ""),
        };
        Self::new(status, &error.to_string(), mend)
    }
}

impl From<RegionRefusal> for Refused {
    fn from(refusal: RegionRefusal) -> Self {
        let status = match &refusal {
            RegionRefusal::UnknownNode(_) | RegionRefusal::UnknownNamespace(_) => StatusCode::NOT_FOUND,
            RegionRefusal::BadNamespaceName(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, &refusal.to_string(), "")
    }
}

impl From<AdminError> for Refused {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Unavailable(error) => error.into(),
            AdminError::Refused(refusal) => refusal.into(),
            AdminError::UnknownGroup(_) => Self::new(StatusCode::NOT_FOUND, &error.to_string(), ""),
            AdminError::NoLeader(_) | AdminError::NoStanding => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), "")
            }
            error => Self::new(StatusCode::CONFLICT, &error.to_string(), ""),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::CONFLICT, &refusal.to_string(), "")
    }
}

impl From<KeyError> for Refused {
    fn from(error: KeyError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &error.to_string(), "")
    }
}

impl From<SettingError> for Refused {
    fn from(error: SettingError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &error.to_string(), "`sojourn namespace set --help` lists all settings")
    }
}
