import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHandler, type ModelLog, type RecordedRequest } from './handler.js'
import { checkScript, type Script } from './script.js'

export type { Script } from './script.js'

interface ScriptedModelOptions {
  /** 0, the default, picks a free one. */
  port?: number
  /** A loopback address; 127.0.0.1 by default. */
  host?: string
  log?: ModelLog
}

export interface ScriptedModel {
  /** For `ANTHROPIC_BASE_URL`. */
  url: string
  /** For `ANTHROPIC_API_KEY`; a new random one at every start. */
  apiKey: string
  /** The latest requests, oldest first. */
  requests: readonly RecordedRequest[]
  /**
   * Registers a script under a name.
   * @throws {Error} saying where it is not a valid script
   */
  script (name: string, turns: Script): void
  /** Ends open streams and frees the port. */
  close (): Promise<void>
}

/**
 * Starts a stand-in for Anthropic's Messages API on loopback, so that the real Claude CLI does real work without a
 * key. Every prompt gets the same short demo (see demo.ts), except one with a code block like
 *
 * ~~~
 * ```scripted
 * [[{"tool": "Bash", "input": {"command": "sleep 5"}}], [{"text": "Slept. ", "repeat": 3, "chunk": 2, "delayMs": 50}]]
 * ```
 * ~~~
 *
 * which is answered turn by turn from the {@link Script} in the block, or the one registered under the name there.
 * A turn is a list of blocks (`text`, `thinking`, `tool` or `plan`), or an object with `blocks` and how they fail:
 * `error`, `cutAfter`, `hang`, `delayMs`, `stopReason`, `repeat`. Each request, including retries, takes the next turn.
 * `{"plan": "# Markdown"}` writes the file that the client names in plan mode, which `ExitPlanMode` then presents:
 *
 * ~~~
 * [[{"plan": "# First\n..."}], [{"tool": "ExitPlanMode", "input": {}}], [{"text": "Approved, or sent back."}]]
 * [[{"tool": "AskUserQuestion", "input": {"questions": [{"question": "Which?", "header": "Kind", "multiSelect": false,
 *   "options": [{"label": "A", "description": "The first"}, {"label": "B", "description": "The second"}]}]}}]]
 * ~~~
 * @throws {Error} when the host is not loopback or the port is taken
 */
export async function startScriptedModel (options: ScriptedModelOptions = {}): Promise<ScriptedModel> {
  const { port = 0, host = '127.0.0.1', log } = options
  if (!isLoopback(host)) throw new Error(`the scripted model listens on loopback only, not on ${host}`)

  const apiKey = `sk-ant-scripted-${randomBytes(24).toString('base64url')}`
  const scripts = new Map<string, Script>()
  const requests: RecordedRequest[] = []
  const server = createServer(createHandler({ apiKey, scripts, requests, log }))
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new Error(`starting the scripted model on port ${port}`, { cause })
  }

  const { address, port: taken, family } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`,
    apiKey,
    requests,
    script: (name, turns) => { scripts.set(name, checkScript(turns)) },
    close: async () => {
      const closed = server.listening ? once(server, 'close') : undefined
      server.close()
      server.closeAllConnections()
      await closed
    }
  }
}

function isLoopback (host: string) {
  return host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host)
}
