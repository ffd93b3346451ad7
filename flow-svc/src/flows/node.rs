//! What each kind of node does.

use futures::{FutureExt as _, future::BoxFuture};
use metadata::automation::flow::NodeConfig;

use super::{
    control_node,
    fault::{Fault, Stop},
    interpreter::{Done, Step},
    record_node, script_node,
    state::State,
    subflow_node,
};

/// Runs the node of a step.
pub(super) fn run<'a>(
    step: &'a Step<'a>,
    state: &'a mut State,
) -> BoxFuture<'a, Result<Done, Stop>> {
    async move {
        let node = step.visit.node;
        match &node.config {
            NodeConfig::Start(_) | NodeConfig::Join => Ok(Done::default()),
            NodeConfig::End { outputs } => Ok(control_node::end(step, outputs.as_ref(), state)?),
            NodeConfig::Decision { branches } => Ok(control_node::decide(step, branches, state)?),
            NodeConfig::Assignment { assignments } => {
                Ok(control_node::assign(step, assignments, state)?)
            }
            NodeConfig::Loop(of) => control_node::repeat(step, of, state).await,
            NodeConfig::Parallel { branches } => control_node::fan_out(step, branches, state).await,
            NodeConfig::GetRecord {
                step: of,
                limit,
                order_by,
            } => record_node::get(step, of, *limit, order_by.as_ref(), state).await,
            NodeConfig::CreateRecord(of) => record_node::create(step, of, state).await,
            NodeConfig::UpdateRecord(of) => record_node::update(step, of, state).await,
            NodeConfig::DeleteRecord(of) => record_node::delete(step, of, state).await,
            NodeConfig::Subflow(of) => subflow_node::run(step, of, state).await,
            NodeConfig::Script(of) => script_node::script(step, of, state).await,
            NodeConfig::Action(of) => script_node::action(step, of, state).await,
            // Not built yet, or not known at all.
            NodeConfig::TryCatch(_)
            | NodeConfig::Map(_)
            | NodeConfig::Wait(_)
            | NodeConfig::Screen(_)
            | NodeConfig::Approval(_)
            | NodeConfig::Http(_)
            | NodeConfig::SendEmail(_)
            | NodeConfig::Notify(_)
            | NodeConfig::Connector(_)
            | NodeConfig::Unknown => Err(Fault::no_executor(format!(
                "Nothing here runs a step of type `{}`",
                node.node_type
            ))
            .into()),
        }
    }
    .boxed()
}
