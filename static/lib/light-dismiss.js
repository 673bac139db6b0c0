/** Makes a `<details>` close like a menu: on Escape, which restores the focus, and when the user moves elsewhere. */
export function enableLightDismiss (box) {
  const closeOutside = ({ target }) => { if (!box.contains(target)) box.open = false }
  box.addEventListener('toggle', () => {
    const listen = box.open ? 'addEventListener' : 'removeEventListener'
    for (const kind of ['pointerdown', 'focusin']) document[listen](kind, closeOutside)
  })
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !box.open) return
    event.stopPropagation()
    box.open = false
    box.querySelector('summary').focus()
  })
}
