import { AsyncLocalStorage } from 'node:async_hooks'
import type { ClientMiddleware } from 'nice-grpc-common'

const listeners = new AsyncLocalStorage<(text: string) => void>()

interface BuildUpdate { taskLogs?: { data?: string }[] }

let listening = 0

/** Runs `work` and hands every piece of image build log that arrives meanwhile to `onLog`. */
export async function withBuildLog<T> (onLog: (text: string) => void, work: () => Promise<T>): Promise<T> {
  listening++
  try {
    return await listeners.run(onLog, work)
  } finally {
    // While it is enabled, every promise of the whole process costs more.
    if (--listening === 0) listeners.disable()
  }
}

/**
 * gRPC middleware: the SDK waits for image builds on ImageJoinStreaming but throws away the log lines in it
 * (modal 0.11.1, `image.build`). Here they are passed on to the request that waits for that build.
 */
export const tapBuildLogs: ClientMiddleware = async function * (call, options) {
  const onLog = listeners.getStore()
  if (onLog === undefined || !call.responseStream || !call.method.path.endsWith('/ImageJoinStreaming')) {
    return yield * call.next(call.request, options)
  }
  for await (const response of call.next(call.request, options)) {
    for (const { data } of (response as BuildUpdate).taskLogs ?? []) if (data) onLog(data)
    yield response
  }
}
