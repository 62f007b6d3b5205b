//! Execution at the front door: names for runs, streams of their progress. How a run is done stands in `run`.

use crate::farm::CallError;
use crate::front::operations::{Operation, Watcher};
use crate::front::run::Run;
use crate::front::{Front, MAIN, check_function, digest};
use futures::stream;
use kiln_proto::longrunning::operations_server::Operations as OperationsService;
use kiln_proto::longrunning::{
    self, CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, ListOperationsResponse,
    WaitOperationRequest,
};
use kiln_proto::protobuf::Empty;
use kiln_proto::reapi;
use kiln_rpc::{Caller, Role, require};
use reapi::execution_server::Execution;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

type OperationStream = Pin<Box<dyn Stream<Item = Result<longrunning::Operation, Status>> + Send>>;

/// The operation's progress, from where it stands now; the stream ends with the operation.
fn follow(watcher: Watcher) -> OperationStream {
    Box::pin(stream::unfold(Some((watcher, true)), |following| async {
        let (mut watcher, first) = following?;
        if !first {
            // The sender lives as long as the operation, which the watcher holds.
            watcher.changes.changed().await.ok()?;
        }
        let standing = watcher.changes.borrow_and_update().clone();
        let message = watcher.operation.message(&standing);
        let following = standing.response.is_none().then_some((watcher, false));
        Some((Ok(message), following))
    }))
}

impl Front {
    fn start(&self, caller: Caller, mut message: reapi::ExecuteRequest) -> Result<Watcher, Status> {
        check_function(message.digest_function)?;
        let instance = self.instance(&message.instance_name)?;
        if instance != MAIN {
            return Err(Status::invalid_argument(format!("actions are executed in {MAIN:?} only")));
        }
        message.instance_name = instance;
        let action = digest(message.action_digest.as_ref())?;
        let operations = &self.shared().operations;
        if let Some(watcher) = operations.join(&action) {
            return Ok(watcher);
        }
        let nonce = crate::farm::random_name().map_err(|error: CallError| Status::from(error))?;
        let name = format!("{MAIN}/operations/{nonce}");
        let watcher = operations.start(name, action, caller.name.clone());
        let watcher = watcher.ok_or_else(|| Status::resource_exhausted("too many executions at once"))?;
        let run = Run::new(self.clone(), caller.name, message, Arc::clone(&watcher.operation));
        tokio::spawn(run.drive());
        Ok(watcher)
    }

    fn operation(&self, name: &str) -> Result<Arc<Operation>, Status> {
        let name_shown: String = name.chars().take(80).collect();
        self.shared().operations.get(name).ok_or_else(|| Status::not_found(format!("no operation {name_shown:?}")))
    }
}

#[tonic::async_trait]
impl Execution for Front {
    type ExecuteStream = OperationStream;
    type WaitExecutionStream = OperationStream;

    async fn execute(&self, request: Request<reapi::ExecuteRequest>) -> Result<Response<OperationStream>, Status> {
        let caller = require(&request, &[Role::User])?;
        Ok(Response::new(follow(self.start(caller, request.into_inner())?)))
    }

    async fn wait_execution(&self, request: Request<reapi::WaitExecutionRequest>) -> Result<Response<OperationStream>, Status> {
        require(&request, &[Role::User])?;
        let name = request.into_inner().name;
        self.operation(&name)?;
        let watcher = self.shared().operations.watch(&name);
        Ok(Response::new(follow(watcher.ok_or_else(|| Status::not_found("the operation is forgotten"))?)))
    }
}

#[tonic::async_trait]
impl OperationsService for Front {
    async fn list_operations(&self, _: Request<ListOperationsRequest>) -> Result<Response<ListOperationsResponse>, Status> {
        Err(Status::unimplemented("operations are named by those who started them"))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Result<Response<longrunning::Operation>, Status> {
        require(&request, &[Role::User, Role::Admin])?;
        let operation = self.operation(&request.get_ref().name)?;
        Ok(Response::new(operation.message(&operation.standing())))
    }

    async fn delete_operation(&self, _: Request<DeleteOperationRequest>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("finished operations are forgotten by themselves"))
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Result<Response<Empty>, Status> {
        let caller = require(&request, &[Role::User, Role::Admin])?;
        let operation = self.operation(&request.get_ref().name)?;
        if caller.role == Role::User && caller.name != operation.user {
            return Err(Status::permission_denied("that operation was started by another user"));
        }
        operation.cancel();
        Ok(Response::new(Empty {}))
    }

    async fn wait_operation(&self, _: Request<WaitOperationRequest>) -> Result<Response<longrunning::Operation>, Status> {
        Err(Status::unimplemented("use WaitExecution"))
    }
}
