//! The teachers of a run: the main one, and those that judge or write in its place.

use crate::teacher::{EndpointSettings, RequestOptions, RequestSettings, Role, Teacher};
use anyhow::Result;

/// The names of the teachers besides the main one, as they were given on the command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct OtherNames {
    pub(crate) judge: Option<String>,
    pub(crate) reward: Option<String>,
    pub(crate) safety: Option<String>,
    pub(crate) completions: Vec<String>,
}

impl OtherNames {
    /// All names, in one order.
    pub(crate) fn all(&self) -> Vec<&str> {
        let single = [&self.judge, &self.reward, &self.safety].into_iter().flatten();
        single.chain(&self.completions).map(String::as_str).collect()
    }
}

/// Which teacher answers which steps.
pub(crate) struct Teachers {
    pub(crate) main: Teacher,
    pub(crate) judge: Option<Teacher>,
    pub(crate) reward: Option<Teacher>,
    pub(crate) safety: Option<Teacher>,
    /// Write the completions of preferences; empty if the main teacher does.
    pub(crate) completions: Vec<Teacher>,
}

impl Teachers {
    /// Opens the other teachers beside the main one, which is open.
    pub(crate) async fn open(
        main: Teacher,
        names: &OtherNames,
        endpoints: &EndpointSettings,
        requests: &RequestOptions<'_>,
    ) -> Result<Self> {
        let of_role = |role| -> Result<EndpointSettings> {
            Ok(EndpointSettings { request: RequestSettings::read(requests, role)?, ..endpoints.clone() })
        };
        let open = async |name: &Option<String>, role| match name {
            Some(name) => Teacher::open(name, None, &of_role(role)?).await.map(Some),
            None => Ok(None),
        };
        let mut completions = Vec::new();
        for name in &names.completions {
            completions.push(Teacher::open(name, None, &of_role(Role::Completion)?).await?);
        }
        Ok(Self {
            main,
            judge: open(&names.judge, Role::Judge).await?,
            reward: open(&names.reward, Role::Reward).await?,
            safety: open(&names.safety, Role::Safety).await?,
            completions,
        })
    }

    /// The models that may be called.
    pub(crate) fn models(&self) -> Vec<&str> {
        let others = [&self.judge, &self.reward, &self.safety].into_iter().flatten();
        let all = std::iter::once(&self.main).chain(others).chain(&self.completions);
        all.map(Teacher::identity).collect()
    }
}
