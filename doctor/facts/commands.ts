import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { killMarked } from '../../services/modal/kill.js'
import { execMarker } from '../../services/modal/process.js'
import { loadScript, quote } from '../../services/modal/script.js'
import { listeningPorts } from '../../services/sandboxes/ports.js'
import { either, expects, minute, second, type Fact } from '../fact.js'

/** How commands run: their terminal, streams, ends, and what one can do to another. */
export const commands: readonly Fact[] = [{
  asked: 'A terminal passes long lines untouched once it is raw, and the exit code is the command\'s',
  expected: '100000 characters, é, exit code 7',
  otherwise: 'Claude\'s events would be cut: services/runs/scripts/runner.sh must not use a terminal of Modal\'s.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const script = 'stty raw -echo; head -c 100000 /dev/zero | tr "\\\\0" x; echo; echo é; exit 7'
    const { out, code } = await bench.sh(script, { pty: true })
    const [line = '', last] = out.split('\n').slice(-3)
    return expects(`${line.match(/x*$/)![0].length} characters, ${last}, exit code ${code}`, '100000 characters, é, exit code 7')
  }
}, {
  asked: 'Another command can change the size of a terminal, and Ctrl-C interrupts what runs in it',
  expected: '40 120, interrupted',
  otherwise: 'Terminals of the page keep their first size, or a program in them can only be ended with its tab.',
  timeoutMs: minute,
  ask: async (bench) => {
    const box = await bench.box()
    const shell = await box.exec(['sh', '-c', 'tty; read line; stty size; trap "echo interrupted; exit" INT; sleep 20; echo not'], { pty: true })
    const reader = shell.stdout.getReader()
    let out = ''
    const until = async (pattern: RegExp) => {
      for (let chunk; !pattern.test(out) && !(chunk = await reader.read()).done;) out += chunk.value
    }
    const writer = shell.stdin.getWriter()
    await until(/\n/)
    await bench.sh(`stty -F ${quote(out.split('\n')[0]!.trim())} rows 40 cols 120`)
    await writer.write('\r')
    await until(/\d+ \d+\s/)
    await writer.write('\x03')
    await until(/interrupted|not/)
    const size = /(\d+ \d+)\s/.exec(out)?.[1]
    return expects(`${size ?? 'no size'}, ${/interrupted|not/.exec(out)?.[0] ?? 'not'}`, '40 120, interrupted')
  }
}, {
  asked: 'A server on localhost is in the table of sockets, and reached by a connect token for its port, but not without',
  expected: 'port 4321, served, refused without a token',
  otherwise: 'The page offers no ports, or they do not open: services/sandboxes/ports.ts.',
  timeoutMs: minute,
  ask: async (bench) => {
    const box = await bench.box()
    await bench.sh('node -e "require(\'http\').createServer((request, answer) => answer.end(\'served\')).listen(4321, \'127.0.0.1\')" ' +
      '> /dev/null 2>&1 & sleep 2')
    const { out } = await bench.sh(loadScript(new URL('../../services/sandboxes/ports.ts', import.meta.url).href, 'ports.sh'))
    const { url, token } = await box.createConnectToken({ port: 4321 })
    const ask = async (headers: Record<string, string>) => await fetch(url, { headers })
    const served = await (await ask({ authorization: `Bearer ${token}` })).text()
    const { ok } = await ask({})
    const ports = listeningPorts(out).map(({ port }) => port).join(', ')
    return expects(`port ${ports || 'none'}, ${served.slice(0, 50)}, ${ok ? 'served' : 'refused'} without a token`,
      'port 4321, served, refused without a token')
  }
}, {
  asked: 'util-linux `script` gives a command a terminal of its own',
  expected: '/dev/pts/<n>',
  otherwise: 'No run of Claude can start.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const found = (await bench.sh('script -qefc tty /dev/null; exit 0')).out.trim()
    return { found, holds: /^\/dev\/(pts\/\d+|tty\S*)$/.test(found) }
  }
}, {
  asked: 'One exec finds and ends what another has started, by its environment',
  expected: 'ended',
  otherwise: 'Cancelled runs go on, and are paid for, until the sandbox ends.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const box = await bench.box()
    const id = randomUUID()
    const process = await box.exec(['sh', '-c', 'trap "" TERM; setsid sleep 600 & sleep 600'], { env: { [execMarker]: id } })
    const stages = [{ signal: 'TERM', waitMs: 500 }, { signal: 'KILL', waitMs: 2000 }] as const
    const ended = await killMarked(box, `${execMarker}=${id}`, stages)
    await process.wait()
    const left = (await bench.sh(`grep -lF ${id} /proc/[0-9]*/environ 2>/dev/null | grep -v "/$$/"`)).out.trim()
    return expects(ended && left === '' ? 'ended' : `left: ${left || 'unknown'}`, 'ended')
  }
}, {
  asked: 'A limit on the size of files can be read, and not be raised',
  expected: 'read, not raised',
  otherwise: 'A run\'s processes are known by their environment alone, which they can change.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const { out } = await bench.sh('grep -q "Max file size" /proc/self/limits && echo read; ulimit -f 1000; ulimit -f 2000 2>/dev/null && echo raised; exit 0')
    return either(out.trim() === 'read' ? 'read, not raised' : out.trim() || 'not read, not raised')
  }
}, {
  asked: 'A reader of a growing file hears of a line at once',
  expected: 'within 1.5 s',
  otherwise: 'Events arrive late: services/runs/log-follower.ts must poll faster.',
  timeoutMs: minute,
  ask: async (bench) => {
    // Not everywhere does it notice that its reader has gone.
    const { out } = await bench.sh(`: > /tmp/log; (timeout 5 tail -n +1 -f /tmp/log | while read -r line; do date +%s%N; break; done) &
      sleep 1; date +%s%N; echo line >> /tmp/log; wait`)
    const [written = 0, heard = Infinity] = out.trim().split('\n').map(Number)
    const ms = (heard - written) / 1e6
    return { found: `${Math.round(ms)} ms`, holds: ms < 1500 }
  }
}, {
  asked: 'Standard output can be opened again through /dev/fd',
  expected: 'either',
  otherwise: '',
  timeoutMs: minute,
  ask: async (bench) => either((await bench.sh('(echo again > /dev/fd/1) 2>/dev/null || echo not')).out.trim())
}, {
  asked: '/tmp takes FIFOs',
  expected: 'either',
  otherwise: '',
  timeoutMs: minute,
  ask: async (bench) => either((await bench.sh('mkfifo /tmp/fifo 2>&1 && echo taken')).out.trim())
}, {
  asked: 'A program that does not exist fails the start, or exits with 127',
  expected: '127',
  otherwise: 'Users are told that Modal failed instead of which program is missing.',
  timeoutMs: minute,
  ask: async (bench) => {
    const process = await (await bench.box()).exec(['no-such-program']).catch((error: Error) => error)
    return process instanceof Error
      ? either(`the start fails: ${process.message}`)
      : expects(String(await process.wait()), '127')
  }
}, {
  asked: 'A timeout of an exec ends it with a code of its own kind',
  expected: '-1, 124 or 137',
  otherwise: 'A command whose time is over looks as if it had failed by itself.',
  timeoutMs: minute,
  ask: async (bench) => {
    const code = await (await (await bench.box()).exec(['sleep', '60'], { timeoutMs: 2000 })).wait()
    return { found: String(code), holds: [-1, 124, 137].includes(code) }
  }
}, {
  asked: 'Output that nobody reads holds up a command',
  expected: 'either, and all of it arrives',
  otherwise: 'Output of slow readers is lost.',
  timeoutMs: 2 * minute,
  ask: async (bench) => {
    const script = 'head -c 50000000 /dev/zero; echo over > /tmp/over'
    const process = await (await bench.box()).exec(['sh', '-c', script], { mode: 'binary' })
    const { out } = await bench.sh('for i in $(seq 50); do [ -e /tmp/over ] && break; sleep 0.1; done; cat /tmp/over 2>/dev/null')
    let bytes = 0
    for await (const chunk of process.stdout) bytes += chunk.length
    return { found: `${out === '' ? 'held up' : 'not held up'}, ${bytes} bytes`, holds: bytes === 50_000_000 }
  }
}, {
  asked: 'A process that left its session outlives the exec that started it',
  expected: 'alive',
  otherwise: 'Servers that Claude starts end with their command.',
  timeoutMs: minute,
  ask: async (bench) => {
    await bench.sh('setsid sh -c "sleep 3; echo alive > /tmp/outlived" > /dev/null 2>&1 < /dev/null &')
    await sleep(5 * second)
    return expects((await bench.sh('cat /tmp/outlived')).out.trim(), 'alive')
  }
}]
