// Twenty prompts over five sandboxes. A sandbox has one run at a time, so each takes the next prompt when it is free.
import { ApiError, createClient, unwrap } from '@modal-sandbox/client'

const { SERVICE_URL = 'http://localhost:3000', SERVICE_KEY, PROMPTS = '20', SANDBOXES = '5' } = process.env
const client = createClient({ url: SERVICE_URL, headers: { authorization: `Bearer ${SERVICE_KEY}` } })

const prompts = Array.from({ length: Number(PROMPTS) }, (_, n) => `Write a haiku about the number ${n} into ${n}.txt`)
const waiting = prompts.entries()
const outcomes: string[] = []

async function work () {
  const { id } = await client.sandboxes.create().result()
  try {
    // All workers take from the same iterator: none does what another has done.
    for (const [n, prompt] of waiting) {
      outcomes[n] = await client.runs.start(id, { prompt, maxTurns: 10 }).result().then(
        ({ outcome, costUsd }) => `${outcome}, ${costUsd ?? '?'} US dollars`,
        (error: unknown) => {
          if (error instanceof ApiError && error.code !== 'SANDBOX_ENDED') return error.code
          throw error
        })
      console.log(`${n}: ${outcomes[n]}`)
    }
  } finally {
    await unwrap(client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id } } }))
  }
}

const workers = await Promise.allSettled(Array.from({ length: Number(SANDBOXES) }, work))
for (const worker of workers) if (worker.status === 'rejected') console.error(worker.reason)
console.log(`${outcomes.filter((outcome) => outcome.startsWith('result')).length} of ${prompts.length} done`)
