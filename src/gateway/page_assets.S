// The files of web/ as read-only data: NAME_begin and NAME_end for page.c.
    .section .rodata

    .macro asset name, file
    .global \name\()_begin
    .global \name\()_end
    .balign 16
\name\()_begin:
    .incbin "\file"
\name\()_end:
    .byte 0
    .endm

    asset page_index, "index.html"
    asset page_script, "app.js"
    asset page_style, "style.css"
    asset page_icon, "icon.svg"

    .section .note.GNU-stack, "", %progbits
