/** Makes a `<details>` close as menus do: on Escape, which gives the focus back, and when one goes on elsewhere. */
export function closesAsMenu (box) {
  const leave = ({ target }) => { if (!box.contains(target)) box.open = false }
  box.addEventListener('toggle', () => {
    const listen = box.open ? 'addEventListener' : 'removeEventListener'
    for (const kind of ['pointerdown', 'focusin']) document[listen](kind, leave)
  })
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !box.open) return
    event.stopPropagation()
    box.open = false
    box.querySelector('summary').focus()
  })
}
