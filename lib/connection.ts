import type { FastifyRequest } from 'fastify'

/**
 * Runs `work` with a signal that aborts when the client disconnects. The socket is watched, not the request: that of a
 * POST closes as soon as its body has been read.
 */
export async function whileConnected<T> (
  { socket }: Pick<FastifyRequest, 'socket'>, work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const disconnected = new AbortController()
  const onClose = () => disconnected.abort()
  socket.once('close', onClose)
  try {
    return await work(disconnected.signal)
  } finally {
    socket.removeListener('close', onClose)
  }
}
