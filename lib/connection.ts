import type { FastifyRequest } from 'fastify'

/** The signal aborts when the client leaves before its answer: the connection tells; the request of a POST does not. */
export async function whileConnected<T> (
  { socket }: Pick<FastifyRequest, 'socket'>, work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const left = new AbortController()
  const leave = () => left.abort()
  socket.once('close', leave)
  try {
    return await work(left.signal)
  } finally {
    socket.removeListener('close', leave)
  }
}
