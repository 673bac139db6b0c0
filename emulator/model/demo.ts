import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { shellQuote } from '../lib/shell.js'
import type { Conversation, ToolResult } from './conversation.js'
import type { Block, Turn } from './script.js'

/** About 500 characters per second: fast for Claude, and still pleasant to watch. */
const pace = { chunk: 12, delayMs: 25 }

/**
 * The next turn of the demo for people who try the product without a key: it writes a small shell program, runs it
 * and shows it. It depends only on what happened since the last prompt, and ends after two tools at most, so that
 * neither a refusal nor a failing tool can make the client loop.
 */
export function demoTurn (conversation: Conversation, sessionId: string): Turn {
  const { results, tools, workdir } = conversation
  if (workdir === undefined || !tools.includes('Write') || !tools.includes('Bash')) return say(introduce(conversation))

  const program = planProgram(conversation, sessionId)
  const failed = results.findIndex((result) => result.failed)
  if (failed !== -1) return say(giveUp(failed === 0 ? 'Write' : 'Bash', results[failed]!))
  if (results.length === 0) {
    return say(`${introduce(conversation)}\n\nI write a small program and run it, with the real tools.`, {
      tool: 'Write', input: { file_path: posix.join(workdir, program.name), content: program.source }
    })
  }
  if (results.length === 1) {
    return say(`\`${program.name}\` is written. Now I run it.`, {
      tool: 'Bash', input: { command: `sh ${program.name}`, description: 'Run the program just written' }
    })
  }
  return say(conclude(program, results[1]!))
}

function say (text: string, ...blocks: Block[]): Turn {
  return { blocks: [{ text, ...pace }, ...blocks] }
}

function introduce ({ prompt, promptNumber }: Conversation) {
  const again = promptNumber > 1 ? ` This is turn ${promptNumber} of our conversation.` : ''
  return '**Scripted demo model** (no API key is set, so this is not Claude): it plays the same short scene for ' +
    `every prompt.${again} You wrote:\n\n> ${firstWords(prompt, 200)}`
}

function giveUp (tool: string, { text }: ToolResult) {
  return `The scripted demo ends here, because **${tool}** did not go through:\n\n${fenced('text', text)}`
}

function conclude ({ name, source }: Program, { text: output }: ToolResult) {
  return `Done. This is \`${name}\`:\n\n${fenced('sh', source)}\n\nIt printed:\n\n${fenced('text', output)}\n\n` +
    'What was real, and what was not:\n\n' +
    '- **Real**: the Claude Code CLI, its tools, the file and the process, all in this sandbox\n' +
    '- **Scripted**: every word of mine, and the cost and token figures\n\n' +
    'To work with Claude, set `ANTHROPIC_API_KEY` where the service runs and start it again.'
}

interface Program {
  name: string
  source: string
}

/** A program for `sh`, which every image has. Each prompt gets a new name: the CLI won't overwrite unread files. */
function planProgram ({ prompt, promptNumber }: Conversation, sessionId: string): Program {
  const slug = prompt.normalize('NFKD').toLowerCase().match(/[a-z0-9]+/g)?.slice(0, 3).join('-').slice(0, 24)
  const unique = createHash('sha256').update(`${sessionId} ${promptNumber}`).digest('hex').slice(0, 4)
  const name = `hello-${slug ?? 'demo'}-${unique}.sh`
  const source = [
    '#!/bin/sh',
    '# Written by the scripted demo model.',
    `echo ${shellQuote(`You asked for: ${firstWords(prompt, 80)}`)}`,
    'echo "Running in $PWD on $(uname -sr)"',
    'for step in 1 2 3; do',
    '  echo "step $step of 3"',
    '  sleep 0.2',
    'done',
    ''
  ].join('\n')
  return { name, source }
}

function firstWords (text: string, length: number) {
  const line = text.replace(/[\s\p{Cc}]+/gu, ' ').trim()
  const characters = [...line.slice(0, 2 * length)]
  return characters.length > length ? `${characters.slice(0, length - 1).join('')}…` : line
}

/** A code block with a fence that its content can't close. */
function fenced (language: string, content: string) {
  const shown = content.length > 2000 ? `${content.slice(0, 2000)}…` : content.trimEnd()
  const longest = Math.max(2, ...[...shown.matchAll(/`{3,}/g)].map(([ticks]) => ticks.length))
  const fence = '`'.repeat(longest + 1)
  return `${fence}${language}\n${shown}\n${fence}`
}
