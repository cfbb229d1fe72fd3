//! Which rows a command reads and how it takes them: the settings of the edge between data and training, the same for all
//! commands.

use crate::examples::{Rules, Tools};
use crate::settings::settings;
use anyhow::{Context, Result};
use checkpoint::located_data;
use datasets::{NamedColumn, ReadOptions, RowLimits};
use serde_json::{Map, Value};
use std::path::PathBuf;

settings! {
    /// The settings of the rows.
    pub(crate) struct DataSettings, DataFlags {
        /// Columns by name, comma-separated: prompt=question,reply=response. Roles: prompt, reply, system, context, messages,
        /// chosen, rejected, text, tools, label, ignore
        [value_name = "ROLE=COLUMN", value_delimiter = ',']
        columns: Vec<NamedColumn> = Vec::new(),
        /// Configuration of the dataset card; by default its default one
        config: String = String::new(),
        /// Split to read, or several as train+test; by default train
        split: String = String::new(),
        /// Leave out rows that cannot be used instead of stopping; they are counted and listed with file, line and reason
        [num_args = 0..=1, default_missing_value = "true"]
        skip_invalid: bool = false,
        /// Maximum size of a row, in MiB
        [value_name = "MIB"]
        max_row_mib: usize = RowLimits::default().max_row_mib,
        /// Maximum number of messages of a row
        [value_name = "N"]
        max_row_messages: usize = RowLimits::default().max_row_messages,
        /// What to do with tools and calls where the chat template prints no tools
        tools: Tools = Tools::Words,
        /// Variables of the chat template, as a JSON object; a row's chat_template_kwargs come before them
        template_args: String = String::new(),
        /// Read special tokens that a message or a document spells as text
        [num_args = 0..=1, default_missing_value = "true"]
        split_special_tokens: bool = false,
    }
}

impl DataSettings {
    /// Returns how the rows are read.
    pub(crate) fn options(&self) -> ReadOptions {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        ReadOptions {
            columns: self.columns.clone(),
            config: given(&self.config),
            split: given(&self.split),
            skip_invalid: self.skip_invalid,
            limits: RowLimits { max_row_mib: self.max_row_mib, max_row_messages: self.max_row_messages },
        }
    }

    /// Returns the variables of the chat template.
    ///
    /// # Errors
    /// When they are no JSON object.
    pub(crate) fn template_args(&self) -> Result<Map<String, Value>> {
        if self.template_args.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_str(&self.template_args).with_context(|| {
            format!(
                "`--template-args {}` is not a JSON object such as {{\"enable_thinking\": false}}",
                self.template_args
            )
        })
    }

    /// Returns the rules with what these settings say.
    pub(crate) fn rules<'a>(&self, rules: Rules<'a>, template_args: &'a Map<String, Value>) -> Rules<'a> {
        let template_args = Some(template_args).filter(|arguments| !arguments.is_empty());
        Rules { tools: self.tools, template_args, split_special_tokens: self.split_special_tokens, ..rules }
    }
}

/// Returns where the data is on this machine: paths as they are, Hugging Face ids as the folders into which the files of
/// their configuration and split were downloaded.
///
/// # Errors
/// When something is neither, or cannot be downloaded.
pub(crate) fn located(data: &[PathBuf], options: &ReadOptions) -> Result<Vec<PathBuf>> {
    let choose = |card: Option<&str>, names: &[String]| datasets::choose(card, names, options.choice());
    let one = |path: &PathBuf| Ok(located_data(path, choose, datasets::is_data)?);
    data.iter().map(one).collect()
}
