import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { shellQuote } from '../lib/shell.js'
import type { Conversation, ToolResult } from './conversation.js'
import type { Block, Turn } from './script.js'

/** About 500 characters per second: fast for Claude, and still pleasant to watch. */
const pace = { chunk: 12, delayMs: 25 }

/**
 * The next turn of the demo for people who try the product without a key: it writes a small shell program, runs it
 * and shows it. In plan mode it presents a plan first; with "ask me" in the prompt it asks a question, where it can.
 * It depends only on what happened since the last prompt, and ends after a few tools at most, so that neither a refusal
 * nor a failing tool can make the client loop.
 */
export function demoTurn (conversation: Conversation, sessionId: string): Turn {
  const { results, tools, workdir, plan } = conversation
  if (workdir === undefined || !tools.includes('Write') || !tools.includes('Bash')) return say(introduce(conversation))
  if (plan !== undefined) return planTurn(conversation, plan)

  const approved = results.findIndex(({ text }) => text.startsWith('User has approved'))
  const afterPlan = results.slice(approved + 1)
  const greeting = approved === -1 ? introduce(conversation) : 'The plan is approved.'
  const asks = /\bask me\b/i.test(conversation.prompt) && tools.includes('AskUserQuestion')
  if (asks && afterPlan.length === 0) return say(`${greeting}\n\nI have a question first.`, question)

  const done = afterPlan.slice(asks ? 1 : 0)
  const program = planProgram(conversation, sessionId, asks && !afterPlan[0]!.failed ? afterPlan[0] : undefined)
  const failed = done.findIndex((result) => result.failed)
  if (failed !== -1) return say(giveUp(failed === 0 ? 'Write' : 'Bash', done[failed]!))
  if (done.length === 0) {
    return say(`${asks ? 'Thank you.' : greeting}\n\nI write a small program and run it, with the real tools.`, {
      tool: 'Write', input: { file_path: posix.join(workdir, program.name), content: program.source }
    })
  }
  if (done.length === 1) {
    return say(`\`${program.name}\` is written. Now I run it.`, {
      tool: 'Bash', input: { command: `sh ${program.name}`, description: 'Run the program just written' }
    })
  }
  return say(conclude(program, done[1]!))
}

/**
 * The file of a plan can't be written again unread, so one that was approved or sent back before is kept. Whether the
 * client has `ExitPlanMode` shows when it is called: its tools may be listed only once they are searched for.
 */
function planTurn (conversation: Conversation, { file, exists }: NonNullable<Conversation['plan']>): Turn {
  const { results } = conversation
  const failed = results.find((result) => result.failed)
  if (failed !== undefined) return say(giveUp('the plan', failed))
  const write: Block = { tool: 'Write', input: { file_path: file, content: planText } }
  const present: Block = { tool: 'ExitPlanMode', input: {} }
  if (results.length > 0) return say('This is what I want to do.', present)
  return say(`${introduce(conversation)}\n\nI make a plan first.`, exists ? present : write)
}

const planText = [
  '# A small program',
  '',
  '1. **Write** a shell program that says what you asked for',
  '2. **Run** it here in the sandbox: `sh hello-....sh`',
  '3. Show you what it printed',
  '',
  'The plan is the scripted demo model\'s: it has the same one for every prompt.',
  ''
].join('\n')

const question: Block = {
  tool: 'AskUserQuestion',
  input: {
    questions: [{
      question: 'What should the program print at the end?',
      header: 'Ending',
      multiSelect: true,
      options: [
        { label: 'A greeting', description: 'Something friendly' },
        { label: 'A number', description: 'How long it has run, in seconds' },
        { label: 'Nothing', description: 'It just ends' }
      ]
    }]
  }
}

function say (text: string, ...blocks: Block[]): Turn {
  return { blocks: [{ text, ...pace }, ...blocks] }
}

function introduce ({ prompt, promptNumber, images }: Conversation) {
  const again = promptNumber > 1 ? ` This is turn ${promptNumber} of our conversation.` : ''
  return '**Scripted demo model** (no API key is set, so this is not Claude): it plays the same short scene for ' +
    `every prompt.${again} You wrote:\n\n> ${firstWords(prompt, 200)}` +
    (images.length > 0 ? `\n\nWith ${images.length} image${images.length > 1 ? 's' : ''} (${images.join('; ')}).` : '')
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
function planProgram ({ prompt, promptNumber }: Conversation, sessionId: string, answer?: ToolResult): Program {
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
    ...answer === undefined ? [] : [`echo ${shellQuote(`About the end you said: ${firstWords(answer.text, 200)}`)}`],
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
