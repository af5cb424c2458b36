//! A namespace's policy, changed setting by setting.

use super::settings::SETTINGS;
use sojourn_core::policy::Policy;

/// One setting of a policy.
#[derive(Clone, Copy)]
pub struct Setting {
    /// Its name; the flag has dashes for underscores.
    pub name: &'static str,
    /// What stands for its value in help texts.
    pub value: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What may be said.
    pub form: &'static str,
    /// Its text in a policy: what `set` reads back.
    pub show: fn(&Policy) -> String,
    /// Changes a policy; `None` if the text is not of this form.
    pub(super) set: fn(&mut Policy, &str) -> Option<()>,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Why a policy was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No setting of that name.
    #[error("no setting `{name}`{}", suggestion.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The name.
        name: String,
        /// The nearest known one.
        suggestion: Option<&'static str>,
    },
    /// A value that does not fit.
    #[error("`{name}` cannot be {value:?}: give {form}")]
    BadValue {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        form: &'static str,
    },
}

/// Changes the setting called `name`.
///
/// # Errors
/// There is none of that name, or the value does not fit.
pub fn change(policy: &mut Policy, name: &str, value: &str) -> Result<(), SettingError> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        let near = SETTINGS.iter().map(|setting| (strsim::jaro_winkler(setting.name, name), setting.name));
        let near = near.filter(|(likeness, _)| *likeness >= 0.7).max_by(|left, right| left.0.total_cmp(&right.0));
        return Err(SettingError::Unknown { name: name.to_owned(), suggestion: near.map(|(_, name)| name) });
    };
    let refused = || SettingError::BadValue { name: setting.name, value: value.to_owned(), form: setting.form };
    (setting.set)(policy, value).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reads_back_what_it_shows() {
        let mut changed = Policy::default();
        for (name, value) in [
            ("idle_timeout", "30m"),
            ("idle_timeout_max", "1d"),
            ("touch_interval", "never"),
            ("after_destroy", "refuse"),
            ("size_warn", "10KiB"),
            ("max_sessions", "1000"),
            ("max_bytes", "10GiB"),
            ("db", "3"),
            ("fields", "json"),
            ("user_path", "passport.user"),
            ("label_paths", "plan=plan,role=user.role"),
            ("redact", "password,creditCard"),
            ("foreign_ids", "false"),
            ("ack", "geo"),
            ("reads", "home"),
            ("wait_fresh", "20ms"),
            ("travel", "true"),
        ] {
            change(&mut changed, name, value).expect(name);
            let setting = SETTINGS.iter().find(|setting| setting.name == name).expect("known");
            assert_eq!((setting.show)(&changed), value, "{name}");
        }
        for policy in [changed, Policy::default()] {
            let mut copy = Policy { password_hash: policy.password_hash.clone(), ..Policy::default() };
            for setting in SETTINGS {
                change(&mut copy, setting.name, &(setting.show)(&policy)).expect(setting.name);
            }
            assert_eq!(copy, policy);
        }
    }

    #[test]
    fn refusals_name_the_setting_and_the_mend() {
        let mut policy = Policy::default();
        let error = change(&mut policy, "idle_timout", "30m").expect_err("unknown").to_string();
        assert!(error.contains("did you mean `idle_timeout`"), "{error}");
        let error = change(&mut policy, "idle_timeout", "30").expect_err("no unit").to_string();
        assert!(error.contains("`idle_timeout` cannot be \"30\"") && error.contains("30m"), "{error}");
        assert_eq!(policy, Policy::default());
    }
}
