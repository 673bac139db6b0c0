import { ApiError, getJson, paths, send } from './lib/api.js'
import { notifyButton } from './lib/attention.js'
import { h } from './lib/dom.js'
import { icon } from './lib/icons.js'
import { shortcutOf, showShortcuts } from './lib/keys.js'
import { themeButton } from './lib/theme.js'
import { button, notice } from './views/notice.js'
import { lastSpec } from './views/specs.js'

/** The views are loaded when they are needed. The page has browsers fetch those ahead that may come first. */
const views = {
  signIn: () => import('./views/sign-in.js'),
  start: () => import('./views/start.js'),
  chat: () => import('./views/chat.js'),
  progress: () => import('./views/progress.js'),
  createForm: () => import('./views/create-form.js')
}
/** When the rest of the page is loaded: the first view is there by then, also over a slow network. */
const restDelayMs = 3000

const main = document.getElementById('main')
/** The chats of this page by sandbox id; they are kept while another view is shown. */
const chats = new Map()
const endedProblem = { message: 'This sandbox has ended.', hint: 'Create a new one; files on a volume are still there.' }
let status
let view

window.addEventListener('hashchange', route)
document.querySelector('.brand').addEventListener('click', (event) => {
  event.preventDefault()
  go('')
})
document.querySelector('.skip').addEventListener('click', (event) => {
  // Following the link would replace the hash, which is the route.
  event.preventDefault()
  main.focus()
})
document.addEventListener('keydown', (event) => { if (shortcutOf(event) === '?') showShortcuts() })
// Otherwise the browser would leave the page for a file that is dropped beside the places that take files.
for (const kind of ['dragover', 'drop']) {
  window.addEventListener(kind, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes('Files')) return
    event.preventDefault()
    event.dataTransfer.dropEffect = 'none'
  })
}
document.getElementById('settings').append(notifyButton(), themeButton(), h('button', {
  type: 'button', class: 'quiet', 'aria-label': 'Keyboard shortcuts', title: 'Keyboard shortcuts (?)', onclick: showShortcuts
}, icon('keyboard')))
document.addEventListener('signed-out', () => {
  if (status?.account) start({ message: 'You are no longer signed in.', hint: 'Sign in again to continue.' })
})
start()
setTimeout(() => { for (const load of Object.values(views)) load().catch(() => {}) }, restDelayMs)

/** Loads the service's status and shows either the sign-in form or the view of the current route. */
async function start (problem) {
  try {
    problem = await redeemLink() ?? problem
    status = await getJson(paths.status)
  } catch (error) {
    return showProblem(error, button('Try again', () => start()))
  }
  showHeader()
  if (status.account) return route()
  open('signIn', ({ SignInView }) => new SignInView({ local: status.backend === 'local', problem, onSignedIn: () => start() }))
}

/** The sign-in link has its code behind the `#`, where no server and no log can see it. */
async function redeemLink () {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1]
  if (code === undefined) return
  history.replaceState(null, '', location.pathname + location.search)
  try {
    const { signIn } = await load('signIn')
    await signIn(decodeURIComponent(code))
  } catch (error) {
    if (error.transient) throw error
    return { message: 'This link is no longer valid.', hint: 'It works once. Enter the API key, or restart the service: it prints a new link.' }
  }
}

/** `#sandbox=<id>` is a chat, so that reload and the back button work; anything else is the start page. */
async function route () {
  if (location.hash.startsWith('#code=')) return start()
  if (!status?.account) return
  const id = /^#sandbox=(.+)$/.exec(location.hash)?.[1]
  if (id === undefined) {
    return open('start', ({ StartView }) => new StartView({ newSandbox, onOptions: () => showCreateForm(), openSandbox }))
  }
  const chat = chats.get(id)
  if (chat) return show(chat)
  show({ full: true, element: h('p', { class: 'loading' }, h('span', { class: 'spinner' }), 'Opening the sandbox…') })
  try {
    const [sandbox] = await Promise.all([getJson(paths.sandbox(id)), load('chat')])
    if (sandbox.status !== 'running') throw new ApiError(endedProblem)
    const chat = await openChat(sandbox)
    if (location.hash === `#sandbox=${id}`) show(chat)
  } catch (error) {
    const create = button('New sandbox', () => newSandbox(), { kind: 'primary', symbol: 'plus' })
    showProblem(error, create, button('All sandboxes', () => go('')))
  }
}

/** Loads a view and shows it, unless another one was shown meanwhile. */
async function open (name, create) {
  const previous = view
  try {
    const module = await load(name)
    if (view === previous) show(create(module))
  } catch (error) {
    showProblem(error, button('Reload', () => location.reload()))
  }
}

/** @throws ApiError when a part of the page is gone: the service was updated after the page was loaded */
async function load (name) {
  try {
    return await views[name]()
  } catch {
    throw new ApiError({ message: 'This part of the page could not be loaded.', hint: 'Reload the page.' })
  }
}

function showProblem (error, ...actions) {
  show({ element: h('div', { class: 'card narrow' }, notice(error, { dismissible: false, actions })) })
}

async function openChat (sandbox) {
  const { ChatView } = await load('chat')
  const chat = new ChatView(sandbox, { scripted: status.model === 'scripted', newSandbox })
  chats.set(sandbox.id, chat)
  return chat
}

function newSandbox (spec = lastSpec()) {
  open('progress', ({ ProgressView }) => new ProgressView({
    spec,
    onCreated: async (sandbox) => {
      const chat = await openChat(sandbox)
      chat.warn(sandbox.warnings)
      openSandbox(sandbox.id)
    },
    onEdit: (problem) => showCreateForm({ spec, problem }),
    onBack: () => go('')
  }))
}

function showCreateForm ({ spec, problem } = {}) {
  open('createForm', ({ CreateForm }) => new CreateForm({ spec, problem, onCreate: newSandbox, onBack: () => go('') }))
}

function openSandbox (id) {
  go(`#sandbox=${id}`)
}

function go (hash) {
  if (location.hash === hash) return route()
  history.pushState(null, '', location.pathname + location.search + hash)
  route()
}

function show (next) {
  if (view === next) return
  const previous = view
  view?.hidden?.()
  // A chat lasts until the page is closed; other views are closed when they are replaced.
  if (!chats.has(view?.sandbox?.id)) view?.close?.()
  view = next
  main.replaceChildren(next.element)
  document.getElementById('bar').replaceChildren(next.bar?.element ?? '')
  main.classList.toggle('full', next.full === true)
  next.shown?.()
  // Keyboard users continue at the top of the new view.
  if (previous && document.activeElement === document.body) main.focus()
}

function showHeader () {
  const { backend, model, account } = status
  document.getElementById('badges').replaceChildren(
    backend === 'local' ? h('span', { class: 'badge', title: 'Sandboxes run on this machine, not on Modal' }, 'Local mode') : '',
    model === 'scripted'
      ? h('span', { class: 'badge demo', title: 'No model key is set: the answers are scripted, not Claude\'s' },
        icon('warning'), h('span', {}, 'Scripted demo model, not Claude'))
      : '')
  document.getElementById('account').replaceChildren(...account
    ? [h('span', { class: 'muted account-name', title: 'Your account' }, account), button('Sign out', signOut, { kind: 'small' })]
    : [])
}

async function signOut () {
  try {
    await send('DELETE', paths.session)
  } catch (error) {
    return main.prepend(notice(error))
  }
  for (const chat of chats.values()) chat.close()
  chats.clear()
  view = undefined
  history.replaceState(null, '', location.pathname)
  await start()
}
