import { ClientError, Status } from 'nice-grpc-common'
import { ConflictError, InvalidError, NotFoundError, ResourceExhaustedError } from 'modal'
import t from 'tap'
import { modalError } from '../../../services/modal/errors.js'

t.test('Errors of the SDK and of gRPC get their code, their step and their cause (1.6, 8.10, 10.1)', async (t) => {
  const grpc = (code: Status) => new ClientError('/modal.client.ModalClient/Call', code, 'told by Modal')
  const noSpace = 'No space is left on the disk that holds the data of the local emulator'
  const cases: [Error, string, string?][] = [
    [grpc(Status.INVALID_ARGUMENT), 'INVALID_SANDBOX', 'told by Modal'],
    [grpc(Status.UNIMPLEMENTED), 'NOT_SUPPORTED', 'told by Modal'],
    [grpc(Status.ALREADY_EXISTS), 'SANDBOX_NAME_TAKEN'],
    [grpc(Status.RESOURCE_EXHAUSTED), 'MODAL_UNAVAILABLE'],
    [grpc(Status.UNAVAILABLE), 'MODAL_UNAVAILABLE'],
    [grpc(Status.UNAUTHENTICATED), 'MODAL_UNAUTHORIZED'],
    [grpc(Status.PERMISSION_DENIED), 'MODAL_UNAUTHORIZED'],
    [grpc(Status.DEADLINE_EXCEEDED), 'MODAL_TIMEOUT'],
    [grpc(Status.NOT_FOUND), 'SECRET_NOT_FOUND', 'told by Modal'],
    [grpc(Status.FAILED_PRECONDITION), 'MODAL_ERROR'],
    [grpc(Status.INTERNAL), 'MODAL_ERROR'],
    [new NotFoundError('no secret x'), 'SECRET_NOT_FOUND', 'no secret x'],
    [new InvalidError('bad cpu'), 'INVALID_SANDBOX', 'bad cpu'],
    [new ConflictError('has finished'), 'MODAL_ERROR'],
    [new ResourceExhaustedError('full'), 'MODAL_UNAVAILABLE'],
    [new ClientError('/x', Status.RESOURCE_EXHAUSTED, noSpace), 'NO_SPACE', `${noSpace}.`],
    [new Error(`Image build for im-1 failed with the exception:\n${noSpace}`), 'NO_SPACE', noSpace],
    [new Error('Deadline exceeded while waiting for exec 1'), 'MODAL_TIMEOUT'],
    [new Error('Image build for im-1 failed with the exception:\nno such file'), 'IMAGE_BUILD_FAILED', 'no such file'],
    [new Error('an inner secret'), 'MODAL_ERROR']
  ]
  for (const [cause, code, text] of cases) {
    const error = modalError(cause, 'secrets', { notFound: 'SECRET_NOT_FOUND' })
    t.match(error, { code, step: 'secrets', cause }, code)
    if (text === undefined) t.notMatch(error.message, /told by Modal|inner secret|finished|full/)
    else t.ok(error.message.includes(text))
    t.equal(error.cause, cause)
  }
  const statuses = [
    [Status.DEADLINE_EXCEEDED, 'MODAL_TIMEOUT'], [Status.ALREADY_EXISTS, 'SANDBOX_NAME_TAKEN'],
    [Status.PERMISSION_DENIED, 'MODAL_UNAUTHORIZED'], [Status.UNAUTHENTICATED, 'MODAL_UNAUTHORIZED'],
    [Status.RESOURCE_EXHAUSTED, 'MODAL_UNAVAILABLE'], [Status.FAILED_PRECONDITION, 'MODAL_ERROR'],
    [Status.UNIMPLEMENTED, 'NOT_SUPPORTED'], [Status.CANCELLED, 'MODAL_UNAVAILABLE'],
    [Status.UNAVAILABLE, 'MODAL_UNAVAILABLE'], [Status.NOT_FOUND, 'MODAL_ERROR'], [Status.INTERNAL, 'MODAL_ERROR']
  ] as const
  for (const [status, code] of statuses) t.equal(modalError(grpc(status), 'step').code, code, Status[status])
  t.equal(modalError(new Error('Deadline exceeded while waiting'), 'step').code, 'MODAL_TIMEOUT')
  t.notMatch(modalError(grpc(Status.NOT_FOUND), 'find', { notFound: 'SANDBOX_NOT_FOUND' }).message, /told/)
  t.match(modalError(new Error(`Image build for im-1 failed with the exception:\n${'x'.repeat(9000)}end`), 'image').message,
    /\.\.\.x{2997}end$/)
})
